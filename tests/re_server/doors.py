"""A server in this process with a port for each of several callers, whom nothing else tells apart.

Whoever comes in by a caller's port is that caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
from google.longrunning import operations_pb2
from prometheus_client import CollectorRegistry

from access.identity import Identity, Right, current_identity
from cas.disk_open import open_store
from cas.disk_room import DiskLimits
from determinism.ledger import store as ledgers
from determinism.ledger.retention import LedgerLimits
from protos import (
    admin_pb2_grpc,
    bytestream_pb2_grpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc,
)
from re_config.load import parse
from re_server.action_cache_service import ActionCacheService
from re_server.assembly import Parts, assembled
from re_server.embedded import embedded_worker
from re_server.execution_service import ExecutionService
from re_server.log_streams import LogLimits, log_streams
from re_server.rpc import Context, Registrar
from tests.cas.disks import INDEX_BYTES
from tests.serving import config_text

READ = frozenset({Right.CAS_READ, Right.CAS_WRITE, Right.CACHE_READ, Right.EXECUTE})
PROPOSE = READ | {Right.CACHE_PROPOSE}
WRITE = READ | {Right.CACHE_WRITE}
START_SECONDS = 60
LOG_LIMITS = LogLimits(
    max_stream_bytes=1 << 20, max_bytes=1 << 24, max_streams=100, keep_seconds=60
)


@dataclass(frozen=True)
class Doors:
    """ports: HOST:PORT by caller. registry: what /metrics would say."""

    ports: Mapping[str, str]
    registry: CollectorRegistry
    ledger: ledgers.Ledger

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0


class _Cache(remote_execution_pb2_grpc.ActionCacheServicer):
    raw_methods = ActionCacheService.raw_methods

    def __init__(self, caller: Identity, inner: ActionCacheService) -> None:
        self._caller = caller
        self._inner = inner

    async def GetActionResult(self, request: bytes, context: Context) -> bytes:  # type: ignore[override]  # noqa: N802  # raw
        current_identity.set(self._caller)
        return await self._inner.GetActionResult(request, context)

    async def UpdateActionResult(  # noqa: N802
        self, request: reapi.UpdateActionResultRequest, context: Context
    ) -> reapi.ActionResult:
        current_identity.set(self._caller)
        return await self._inner.UpdateActionResult(request, context)


class _Execution(remote_execution_pb2_grpc.ExecutionServicer):
    def __init__(self, caller: Identity, inner: ExecutionService) -> None:
        self._caller = caller
        self._inner = inner

    async def Execute(  # noqa: N802
        self, request: reapi.ExecuteRequest, context: Context
    ) -> AsyncIterator[operations_pb2.Operation]:
        current_identity.set(self._caller)
        async for operation in self._inner.Execute(request, context):
            yield operation

    async def WaitExecution(  # noqa: N802
        self, request: reapi.WaitExecutionRequest, context: Context
    ) -> AsyncIterator[operations_pb2.Operation]:
        async for operation in self._inner.WaitExecution(request, context):
            yield operation


@contextmanager
def doors(
    folder: Path, callers: Mapping[str, frozenset[Right]], settings: str = ""
) -> Iterator[Doors]:
    """Serve from `folder` until the block ends. callers: rights in every instance, by name."""
    ready: Future[tuple[Doors, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    with ThreadPoolExecutor(1) as threads:
        served = threads.submit(asyncio.run, _serve(folder, callers, settings, ready))
        served.add_done_callback(lambda ended: ready.done() or ready.cancel())
        try:
            made, loop, stop = ready.result(START_SECONDS)
        except CancelledError:
            served.result()
            raise
        try:
            yield made
        finally:
            loop.call_soon_threadsafe(stop.set)
            served.result(START_SECONDS)


async def _serve(
    folder: Path,
    callers: Mapping[str, frozenset[Right]],
    settings: str,
    ready: Future[tuple[Doors, asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    config = parse(config_text(folder, settings, listen="127.0.0.1:0"), "a test")
    registry, stop = CollectorRegistry(), asyncio.Event()
    async with AsyncExitStack() as stack:
        limits = DiskLimits(1 << 30, inline_bytes=1000)
        store = stack.enter_context(open_store(folder / "store", limits, index_bytes=INDEX_BYTES))
        ledger = stack.enter_context(
            ledgers.opened(
                folder / "ledger.sqlite", LedgerLimits(max_seconds=86400, max_bytes=1 << 30)
            )
        )
        logs = stack.enter_context(log_streams(folder / "logs", LOG_LIMITS))
        parts = await stack.enter_async_context(assembled(config, store, ledger, logs, registry))
        if parts.dispatcher is not None and config.worker.enabled:
            await stack.enter_async_context(embedded_worker(config, store.blobs, parts.dispatcher))
        ports = {}
        for name, rights in callers.items():
            server, port = _door(parts, Identity(name, {"*": rights}))
            await server.start()
            stack.push_async_callback(server.stop, 0)
            ports[name] = f"127.0.0.1:{port}"
        ready.set_result((Doors(ports, registry, ledger), asyncio.get_running_loop(), stop))
        await stop.wait()
        parts.stopping.set()


def _door(parts: Parts, caller: Identity) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server()
    registrar = cast("grpc.aio.Server", Registrar(server, parts.calls.finished))
    cache = _Cache(caller, parts.action_cache)
    remote_execution_pb2_grpc.add_ActionCacheServicer_to_server(cache, registrar)
    remote_execution_pb2_grpc.add_ContentAddressableStorageServicer_to_server(parts.cas, registrar)
    remote_execution_pb2_grpc.add_CapabilitiesServicer_to_server(parts.capabilities, registrar)
    bytestream_pb2_grpc.add_ByteStreamServicer_to_server(parts.byte_stream, registrar)
    admin_pb2_grpc.add_AdminServicer_to_server(parts.admin, registrar)
    if parts.executing is not None:
        execution = _Execution(caller, parts.executing.execution)
        remote_execution_pb2_grpc.add_ExecutionServicer_to_server(execution, registrar)
    return server, server.add_insecure_port("127.0.0.1:0")
