"""A server's life: everything opened in order, served, drained and closed in the reverse one."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from cas.disk_open import OpenStore, open_store
from cas.disk_orphans import remove_orphans
from cas.disk_room import DiskLimits
from determinism.ledger import store as ledgers
from determinism.ledger.retention import LedgerLimits
from re_config.schema import Config, Disk, Logs
from re_server.access_assembly import authenticating
from re_server.assembly import assembled
from re_server.background import background, either
from re_server.embedded import embedded_worker
from re_server.listening import grpc_server
from re_server.log_streams import LogLimits, LogStreams, log_streams
from re_server.parts import Parts
from re_server.tls import certificates
from re_server.web import web_server

log = logging.getLogger(__name__)

READING_SECONDS = 2.0  # what clients have to fetch the outputs of actions that ended while draining


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a server that is ready listens, each as HOST:PORT."""

    grpc: str
    web: str


async def serve(config: Config, on_ready: Callable[[Ready], object]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once.

    Raises StoreUnusable, SandboxUnusable, OSError where an address is taken, InvalidConfig where a
    file that the configuration names is not usable.
    """
    stop, stop_now = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            log.warning("stopping at once")
            stop_now.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with running(config, stop_now) as ready:
        on_ready(ready)
        await stop.wait()
        log.info("stopping: no new work is taken; a second signal ends at once")


@asynccontextmanager
async def running(config: Config, stop_now: asyncio.Event) -> AsyncIterator[Ready]:
    """Run a server during the block; drain it at its end, unless `stop_now` is set."""
    # There would be a second series for each counter, that nobody reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    files = certificates(config.server.tls)
    async with AsyncExitStack() as stack:
        authenticator = await stack.enter_async_context(authenticating(config.access))
        store = stack.enter_context(_opened(config.store))
        ledger = stack.enter_context(_ledger(config)) if config.ledger.enabled else None
        logs = stack.enter_context(_logs(config.logs, store))
        await stack.enter_async_context(background(store.room.keep(), _swept(store)))
        parts = await stack.enter_async_context(
            assembled(config, store, ledger, logs, registry, authenticator=authenticator)
        )
        if parts.dispatcher is not None and config.worker.enabled:
            worker = embedded_worker(config, store.blobs, parts.dispatcher)
            await stack.enter_async_context(worker)
        web = await stack.enter_async_context(
            web_server(
                config.server.web,
                registry,
                lambda: not parts.stopping.is_set(),
                parts.http_cache,
                access=parts.web_access,
                files=files,
            )
        )
        address = await stack.enter_async_context(
            grpc_server(config.server, parts, files, stop_now)
        )
        try:
            yield Ready(address, web)
        finally:
            parts.stopping.set()
            await _drained(parts, config.server.drain_seconds, stop_now)
            parts.logs.finish_all()
            parts.drained.set()


async def _drained(parts: Parts, seconds: float, stop_now: asyncio.Event) -> None:
    """Wait until no action runs, for `seconds` at most, and until clients have read outputs."""
    if parts.dispatcher is None or stop_now.is_set():
        return
    executing = parts.dispatcher.executing
    drain = asyncio.ensure_future(parts.dispatcher.drain())
    await either(drain, stop_now, seconds)
    if executing and drain.done():
        await either(asyncio.ensure_future(asyncio.sleep(READING_SECONDS)), stop_now, None)
    drain.cancel()


async def _swept(store: OpenStore) -> None:
    """Remove what a killed server left of blobs that were never acknowledged."""
    try:
        removed = await remove_orphans(store)
    except OSError as error:
        log.warning("files of a killed server could not be removed: %s", error)
    else:
        if removed.files:
            log.info("removed %d files of a killed server, %d bytes", removed.files, removed.bytes)


def _ledger(config: Config) -> AbstractContextManager[ledgers.Ledger]:
    named = config.ledger.path or f"{config.store.path}/ledger.sqlite"
    limits = LedgerLimits(
        max_seconds=config.ledger.max_age_days * 86400, max_bytes=config.ledger.max_bytes
    )
    return ledgers.opened(Path(named).expanduser(), limits)


def _logs(config: Logs, store: OpenStore) -> AbstractContextManager[LogStreams]:
    limits = LogLimits(
        max_stream_bytes=config.max_stream_bytes,
        max_bytes=config.max_bytes,
        max_streams=config.max_streams,
        keep_seconds=config.keep_seconds,
    )
    return log_streams(store.folder / "logs", limits)


def _opened(config: Disk) -> AbstractContextManager[OpenStore]:
    limits = DiskLimits(
        max_bytes=config.max_bytes,
        high_water=config.high_water,
        low_water=config.low_water,
        lease_seconds=config.lease_seconds,
        upload_lease_seconds=config.upload_lease_seconds,
        inline_bytes=config.inline_bytes,
        durable=config.durability == "fsync",
        compression=config.compression == "zstd",
        compression_saves=config.compression_saves,
    )
    return open_store(Path(config.path).expanduser(), limits, index_bytes=config.index_bytes)
