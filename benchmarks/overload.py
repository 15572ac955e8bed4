"""Ten times the load that saturates the server: what it still does, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks import servers
from benchmarks.flood import Answered, count_lost, flood
from benchmarks.servers import Running
from benchmarks.table import Table

TIMES = 10
ENOUGH = 0.95  # of the highest rate: a server that gives it is saturated
LOOK_SECONDS = 0.5
EARLY = 20  # looks after which memory should not grow any more: 10 s

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Size:
    """seconds: of the overload. trial_seconds: of each trial before it, with so many clients."""

    seconds: float = 60
    trial_seconds: float = 6
    clients: tuple[int, ...] = (2, 4, 8, 16, 32)


QUICK = Size(seconds=2, trial_seconds=1, clients=(2, 4))


def run(folder: Path, size: Size) -> list[Table]:
    """Measure. folder: for the server; it can be removed after. Raises AnswerWrong."""
    with servers.holdfast(folder, "worker.enabled = false") as server:
        return [asyncio.run(_overload(server, size))]


async def _overload(server: Running, size: Size) -> Table:
    trials = {
        clients: await flood(server.address, clients=clients, seconds=size.trial_seconds)
        for clients in size.clients
    }
    highest = max(trial.rate for trial in trials.values())
    clients = min(each for each, trial in trials.items() if trial.rate >= ENOUGH * highest)
    peak, peak_seen = await _watched(
        server, flood(server.address, clients=clients, seconds=size.trial_seconds)
    )
    over, over_seen = await _watched(
        server, flood(server.address, clients=TIMES * clients, seconds=size.seconds)
    )
    table = Table(
        "Overload",
        f"A mix of uploads (100 x 4 KiB), questions for 100 blobs, results and streams of 1 MiB. "
        f"{clients} clients saturate the server; then {TIMES} times as many for "
        f"{size.seconds:g} s. Shed: refused with RESOURCE_EXHAUSTED, of which unexplained are "
        "without RetryInfo. Memory: without pages of files, such as the index. Lost: blobs that "
        "were acknowledged and are not there.",
        [
            "accepted calls per second",
            "of the peak",
            "p50, ms",
            "p99, ms",
            "shed",
            "unexplained",
            "MB, in the first 10 s",
            "MB, later",
            "lost",
        ],
    )
    for name, flooded, seen in (
        (f"{clients} clients", peak, peak_seen),
        (f"{TIMES * clients} clients", over, over_seen),
    ):
        table.rows[name] = await _row(server, flooded, seen, peak.rate)
    return table


async def _row(
    server: Running, flooded: Answered, seen: list[int], peak: float
) -> list[float | None]:
    return [
        flooded.rate,
        flooded.rate / peak,
        flooded.milliseconds(50),
        flooded.milliseconds(99),
        float(flooded.shed),
        float(flooded.unexplained),
        max(seen[:EARLY]) / 1e6,
        max(seen[EARLY:]) / 1e6 if seen[EARLY:] else None,
        float(await count_lost(server.address, flooded.kept)),
    ]


async def _watched(
    server: Running, flooding: Coroutine[None, None, Result]
) -> tuple[Result, list[int]]:
    """Return what `flooding` does, and the memory that the server was seen to have meanwhile."""
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(server.own_bytes())
            await asyncio.sleep(LOOK_SECONDS)

    watching = asyncio.ensure_future(watch())
    try:
        return await flooding, seen
    finally:
        watching.cancel()
