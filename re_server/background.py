"""Loops that run beside a block."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager

log = logging.getLogger(__name__)


@asynccontextmanager
async def background(*loops: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `loops` beside the block. A loop that fails ends the block; its end ends them."""
    async with asyncio.TaskGroup() as tasks:
        running_loops = [tasks.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            for loop in running_loops:
                loop.cancel()


@contextmanager
def survived(what: str) -> Iterator[None]:
    """Log whatever the block raises, so that the loop around it goes on. what: is not done then."""
    try:
        yield
    except Exception:
        log.exception("%s failed", what)


async def either(first: asyncio.Future[None], event: asyncio.Event, seconds: float | None) -> None:
    """Wait until `first` is done, `event` is set, or `seconds` are over."""
    told = asyncio.ensure_future(_until(event))
    await asyncio.wait({first, told}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()


async def _until(event: asyncio.Event) -> None:
    await event.wait()
