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
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from access.identity import EVERYBODY, NOBODY, current_identity
from protos import (
    admin_pb2_grpc,
    bytestream_pb2_grpc,
    logstream_pb2_grpc,
    remote_asset_pb2_grpc,
    remote_execution_pb2_grpc,
    worker_pb2_grpc,
)
from re_config.schema import Server
from re_server.background import background, either
from re_server.parts import Parts
from re_server.rpc import Registrar
from re_server.tls import Certificates, server_credentials

# Connections whose client went away without a word are found out; living ones are never closed for
# being idle, since a client that is told to go away fails what it has just begun.
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 60_000, 20_000
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
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
        ("grpc.server_handshake_timeout_ms", int(config.admission.handshake_seconds * 1000)),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 4 << 20),
        ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a lottery
    ]


@asynccontextmanager
async def grpc_server(
    config: Server, parts: Parts, files: Certificates | None, stop_now: asyncio.Event
) -> AsyncIterator[str]:
    """Serve during the block; yield HOST:PORT. Raises OSError if the address is taken.

    files: None where nothing is encrypted.
    """
    server = grpc.aio.server(options=options(config))
    registrar = Registrar(parts.gate, parts.calls.finished)
    add_services(registrar, parts)
    server.add_generic_rpc_handlers((registrar,))
    health = health_aio.HealthServicer()
    # Not through the gate: who asks whether a server lives has no credentials.
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    served = [*registrar.services, _HEALTH]
    host, _, _ = config.listen.rpartition(":")
    try:
        if files is None:
            port = server.add_insecure_port(config.listen)
        else:
            secured = server_credentials(files, verified=bool(config.tls.client_ca))
            port = server.add_secure_port(config.listen, secured)
    except RuntimeError as error:
        raise OSError(f"server.listen = {config.listen!r} cannot be used: {error}") from error
    # The tasks that answer calls inherit this.
    current_identity.set(EVERYBODY if parts.gate.authenticator is None else NOBODY)
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


def add_services(registrar: Registrar, parts: Parts) -> None:
    """Serve all that there is, but for health."""
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
    described = (*registrar.services, _HEALTH, reflection.SERVICE_NAME)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]  # it has no annotations
        reflection.aio.ReflectionServicer(described), server
    )
