"""What a process has from the one that starts it: address-space layout and processors."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from re_config.schema import Prevention
from worker.process import Child, Spawner
from worker.sandbox import Run, SandboxUnavailable

ADDR_NO_RANDOMIZE = 0x0040000  # source: linux/personality.h
PERSONALITY_UNKNOWN = 0xFFFFFFFF  # asks, and changes nothing


class ConditioningSpawner(Spawner):
    """Starts processes whose conditions are those of their run.

    They are set in the thread that starts the process, which inherits them, and so do all below
    it: no program of its own is needed for them, each of which would take a millisecond.
    """

    def __init__(self, prevent: Prevention) -> None:
        super().__init__()
        self._prevent = prevent
        self._all = os.sched_getaffinity(0)

    async def start(self, child: Child, command: Sequence[str], run: Run) -> None:
        def prepare() -> None:
            varied = run.varied
            randomise(on=varied.randomised_addresses or not self._prevent.addresses)
            count = varied.processors or self._prevent.processors
            os.sched_setaffinity(0, first(self._all, count))

        # The thread takes them in this order, and nothing comes between: this does not wait here.
        prepared = self._thread.submit(prepare)
        await super().start(child, command, run)
        try:
            prepared.result()
        except OSError as error:
            raise SandboxUnavailable(f"no processor can be chosen: {error.strerror}") from error


def first(processors: set[int], count: int) -> set[int]:
    """Return `count` of `processors`, all if that is 0, the same each time."""
    return set(sorted(processors)[: count or None])


def randomise(*, on: bool) -> None:
    """Have programs that this thread executes loaded at addresses that are random, or not.

    Where the system does not allow that, as some containers do not, nothing changes. Source:
    personality(2).
    """
    library = ctypes.CDLL(None)
    current = library.personality(ctypes.c_ulong(PERSONALITY_UNKNOWN))
    wanted = current & ~ADDR_NO_RANDOMIZE if on else current | ADDR_NO_RANDOMIZE
    if current >= 0 and wanted != current:
        library.personality(ctypes.c_ulong(wanted))


def own_umask() -> str:
    """Return this process's umask, in octal digits.

    To ask umask(2) would change it, in all threads for a moment.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("Umask:"))
