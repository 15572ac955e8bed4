"""`holdfast status`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import click
from rich.console import Console
from rich.table import Table

from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from re_cli.output import as_dict, bytes_text, json_option, print_json
from re_cli.remote import Remote, with_remote


@click.command()
@json_option
@with_remote
def command(remote: Remote, *, as_json: bool) -> None:
    """Show what the server can do, and how it is doing.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    capabilities, status = asyncio.run(_status(remote))
    if as_json:
        print_json(
            {
                "capabilities": as_dict(capabilities),
                "status": as_dict(status) if status is not None else None,
            }
        )
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(_overview(remote, capabilities, status))
    if status is not None and status.queues:
        console.print(_queues(status.queues))
    if status is not None and status.workers:
        console.print(_workers(status.workers))


async def _status(
    remote: Remote,
) -> tuple[reapi.ServerCapabilities, admin.ServerStatus | None]:
    """Return capabilities and status, None for a server of another make."""
    async with remote.open() as session:
        try:
            return session.capabilities, await session.admin.status()
        except NotImplementedError:
            return session.capabilities, None


def _overview(
    remote: Remote, capabilities: reapi.ServerCapabilities, status: admin.ServerStatus | None
) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("server", remote.server)
    for name, value in _capability_rows(capabilities):
        table.add_row(name, value)
    if status is None:
        table.add_row("status", "not told: the server is none of Holdfast's")
        return table
    for name, value in _status_rows(status):
        table.add_row(name, value)
    return table


def _capability_rows(capabilities: reapi.ServerCapabilities) -> Iterable[tuple[str, str]]:
    cache, execution = capabilities.cache_capabilities, capabilities.execution_capabilities
    low, high = capabilities.low_api_version, capabilities.high_api_version
    yield "REAPI", f"{low.major}.{low.minor} to {high.major}.{high.minor}"
    functions = [reapi.DigestFunction.Value.Name(each) for each in cache.digest_functions]
    yield "digest functions", ", ".join(functions)
    yield "execution", "yes" if execution.exec_enabled else "no"
    updates = cache.action_cache_update_capabilities.update_enabled
    yield "results from clients", "yes" if updates else "no"
    yield "batches", f"up to {bytes_text(cache.max_batch_total_size_bytes)}"


def _status_rows(status: admin.ServerStatus) -> Iterable[tuple[str, str]]:
    store, pins = status.store, status.pins
    yield "version", status.version
    yield "up for", _duration(status.uptime.seconds)
    used = 100 * store.bytes / store.max_bytes if store.max_bytes else 0
    full = f"{bytes_text(store.bytes)} of {bytes_text(store.max_bytes)} ({used:.0f} %)"
    yield "store", f"{full} in {store.blobs} blobs"
    if store.plain_bytes > store.bytes:
        yield "uncompressed", bytes_text(store.plain_bytes)
    yield "evicted", f"{store.evicted_blobs} blobs, {bytes_text(store.evicted_bytes)}"
    yield "quarantined", f"{store.quarantined_blobs} blobs"
    yield "pins", f"{pins.pins}; {pins.conflicts} results differed from theirs"


def _queues(queues: Iterable[admin.QueueStatus]) -> Table:
    table = Table("platform", "waiting", title="actions")
    for queue in queues:
        table.add_row(
            _platform(queue.platform),
            str(queue.waiting),
        )
    return table


def _workers(workers: Iterable[admin.WorkerStatus]) -> Table:
    table = Table("worker", "platform", "slots", "running", "", title="workers")
    for worker in workers:
        table.add_row(
            worker.name,
            _platform(worker.platform),
            str(worker.slots),
            str(worker.running),
            "draining" if worker.draining else "",
        )
    return table


def _platform(platform: reapi.Platform) -> str:
    return ", ".join(f"{each.name}={each.value}" for each in platform.properties) or "any"


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
