"""The gRPC port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import grpc
from google.longrunning import operations_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from protos import (
    admin_pb2_grpc,
    bytestream_pb2_grpc,
    logstream_pb2_grpc,
    remote_asset_pb2_grpc,
    remote_execution_pb2_grpc,
    worker_pb2_grpc,
)
from re_config.schema import Server
from re_server.assembly import Parts
from re_server.background import background, either
from re_server.rpc import Registrar

STOP_SECONDS = 5.0  # what calls have to end, after actions were given their time


def options(config: Server) -> list[tuple[str, int]]:
    """Return gRPC's settings.

    Clients ping every 30 s, also when nothing else is sent: gRPC would take that for abuse and
    hang up after 2 minutes, in the middle of a quiet action.
    """
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", config.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", config.max_metadata_bytes),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 4 << 20),
        ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a lottery
    ]


@asynccontextmanager
async def grpc_server(config: Server, parts: Parts, stop_now: asyncio.Event) -> AsyncIterator[str]:
    """Serve during the block; yield HOST:PORT. Raises OSError if the address is taken."""
    server = grpc.aio.server(options=options(config))
    registrar = Registrar(server, parts.calls.finished)
    _add_services(registrar, parts)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    served = [*registrar.services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
    reflection.enable_server_reflection([*served, reflection.SERVICE_NAME], server)
    host, _, _ = config.listen.rpartition(":")
    try:
        port = server.add_insecure_port(config.listen)
    except RuntimeError as error:
        raise OSError(f"server.listen = {config.listen!r} cannot be used: {error}") from error
    await server.start()
    for name in ("", *served):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        async with background(_told_of_the_stop(health, parts)):
            yield f"{host}:{port}"
    finally:
        stopping = asyncio.ensure_future(server.stop(STOP_SECONDS))
        await either(stopping, stop_now, None)
        if not stopping.done():
            await server.stop(0)
        await stopping


async def _told_of_the_stop(health: health_aio.HealthServicer, parts: Parts) -> None:
    """Say NOT_SERVING from the moment on when no new work is taken."""
    await parts.stopping.wait()
    await health.enter_graceful_shutdown()


def _add_services(registrar: Registrar, parts: Parts) -> None:
    server = cast("grpc.aio.Server", registrar)  # it has what generated code calls
    remote_execution_pb2_grpc.add_CapabilitiesServicer_to_server(parts.capabilities, server)
    remote_execution_pb2_grpc.add_ContentAddressableStorageServicer_to_server(parts.cas, server)
    remote_execution_pb2_grpc.add_ActionCacheServicer_to_server(parts.action_cache, server)
    bytestream_pb2_grpc.add_ByteStreamServicer_to_server(parts.byte_stream, server)
    logstream_pb2_grpc.add_LogStreamServiceServicer_to_server(parts.log_stream, server)
    admin_pb2_grpc.add_AdminServicer_to_server(parts.admin, server)
    if parts.assets is not None:
        remote_asset_pb2_grpc.add_FetchServicer_to_server(parts.assets.fetch, server)
        remote_asset_pb2_grpc.add_PushServicer_to_server(parts.assets.push, server)
    if parts.executing is not None:
        remote_execution_pb2_grpc.add_ExecutionServicer_to_server(parts.executing.execution, server)
        registrar.add_unary(
            operations_pb2.DESCRIPTOR.services_by_name["Operations"], parts.executing.operations
        )
        worker_pb2_grpc.add_WorkersServicer_to_server(parts.executing.workers, server)
