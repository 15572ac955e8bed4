"""A server in this process with a port for each of several callers, whom nothing else tells apart.

Whoever comes in by a caller's port is that caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry

from access.identity import Identity, Right, current_identity
from cas.disk_open import open_store
from cas.disk_room import DiskLimits
from determinism.ledger import store as ledgers
from determinism.ledger.retention import LedgerLimits
from re_config.load import parse
from re_server.assembly import assembled
from re_server.embedded import embedded_worker
from re_server.listening import add_services
from re_server.log_streams import LogLimits, log_streams
from re_server.parts import Parts
from re_server.rpc import Registrar
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
        parts = await stack.enter_async_context(
            assembled(config, store, ledger, logs, registry, authenticator=None)
        )
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
    """Make a server that is to be started at once: its calls are those of `caller`."""
    server = grpc.aio.server()
    registrar = Registrar(parts.gate, parts.calls.finished)
    add_services(registrar, parts)
    server.add_generic_rpc_handlers((registrar,))
    current_identity.set(caller)
    return server, server.add_insecure_port("127.0.0.1:0")
