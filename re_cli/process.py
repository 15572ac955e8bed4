"""What the two commands that run until they are told to stop have in common."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import sys
from collections.abc import Coroutine

import click
import uvloop

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT_BUFFER_BYTES = 8 << 20  # larger ones go back to the kernel at once
KEPT_BYTES = 32 << 20  # freed memory that is kept at the end of an arena
ARENAS = 2  # so that a pool of threads does not keep as much each
LEVELS = ("debug", "info", "warning", "error")

log_level_option = click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    envvar="HOLDFAST_LOG_LEVEL",
    show_default=True,
    show_envvar=True,
    help="Least of what is logged, on stderr.",
)


def log_to_stderr(level: str) -> None:
    """Write log lines as `time LEVEL logger: message`, to stderr."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def keep_freed_memory() -> None:
    """Keep the pages of freed buffers for the next ones.

    Buffers of a stream are as large as those that the C library otherwise takes from the kernel
    and gives back each time: clearing their pages anew took a third of a read. Source: mallopt(3).
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # GNU's has it
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BUFFER_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_ARENA_MAX, ARENAS)


def run(main: Coroutine[object, object, None]) -> None:
    """Run `main` on the faster event loop."""
    keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
