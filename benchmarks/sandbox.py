"""What the sandbox and its switches cost: starts of `true`, without a server around them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.table import Table
from re_config.schema import Prevention, Worker
from worker.folders import Folders
from worker.process import adopt_orphans
from worker.sandbox import Run, Sandbox
from worker.sandboxes import sandbox_of, site
from worker.stdio import Capture

STARTS_AT_ONCE = 2
STDIO_BYTES = 4096
SECONDS = 60


def run(folder: Path, rounds: int, starts: int, bare_starts: Callable[[int], float]) -> Table:
    """Measure. bare_starts: starts `true` under bare bubblewrap, and says how many in a second."""
    cost = Table(
        "Starts of the sandbox per second (`true`)",
        f"{STARTS_AT_ONCE} at a time, without the scheduler, inputs and outputs; beside shell "
        "loops that start bubblewrap with the same name spaces and mounts. Rounds take turns; "
        "medians. Each row is the sandbox with everything in the rows above it.",
        ["starts per second", "bare bubblewrap starts per second", "ratio"],
    )
    off = {field.name: False for field in msgspec.structs.fields(Prevention) if field.type is bool}
    settings = {
        "no switch of worker.prevent": (msgspec.convert({**off, "path": True}, Prevention), ""),
        "all switches": (Prevention(), ""),
        "seeded randomness": (Prevention(), "seed"),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in settings}
    for number in range(rounds):
        for name, (prevent, seed) in settings.items():
            config = Worker(path=str(folder / f"{name}-{number}"), prevent=prevent)
            pair = asyncio.run(_starts(config, starts, seed)), bare_starts(starts)
            measured[name].append(pair)
    for name, pairs in measured.items():
        cost.rows[name] = [
            *(median(pair[index] for pair in pairs) for index in (0, 1)),
            median(ours / bare for ours, bare in pairs),
        ]
    return cost


async def _starts(config: Worker, count: int, seed: str) -> float:
    """Start `true` `count` times; return how many ended in a second."""
    adopt_orphans()
    with site(config) as (folders, spawner):
        sandbox = await sandbox_of(config, folders, spawner)
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                await _start(sandbox, folders, seed)

        begin = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(STARTS_AT_ONCE):
                tasks.create_task(some())
        return count / (time.monotonic() - begin)


async def _start(sandbox: Sandbox, folders: Folders, seed: str) -> None:
    async with folders.action() as folder:
        root = folder / "root"
        root.mkdir()
        with (
            closing(Capture(folder / "stdout", max_bytes=STDIO_BYTES)) as stdout,
            closing(Capture(folder / "stderr", max_bytes=STDIO_BYTES)) as stderr,
        ):
            run = Run(
                arguments=["true"],
                environment={"PATH": "/usr/bin:/bin"},
                root=root,
                path="/b/0123456789ab",
                working_directory="",
                scratch=folder,
                stdout=stdout,
                stderr=stderr,
                timeout_seconds=SECONDS,
                seed=seed,
            )
            ended = await sandbox.run(run)
        if ended.exit_code:
            raise RuntimeError(f"`true` ends with {ended.exit_code} in the sandbox")
