"""Fetches that are under way: shared by all who ask for the same, and bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from assets.fault import FetchTooSlow, NotHad
from assets.request import Had

MAX_WAITING = 1000


class TooManyFetches(RuntimeError):
    """More fetches wait than are let in."""


@dataclass(frozen=True, slots=True)
class _Running:
    started: float
    task: asyncio.Task[Had]


class RunningFetches:
    """At most `most` at one time; others wait for their turn, and that time counts too.

    A fetch goes on when nobody waits for it any more. clock: seconds since 1970.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.time) -> None:
        self._room = asyncio.Semaphore(most)
        self._clock = clock
        self._running: dict[Hashable, _Running] = {}
        self._tasks: set[asyncio.Task[Had]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def share(
        self,
        key: Hashable,
        uri: str,
        fetch: Callable[[], Coroutine[object, object, Had]],
        *,
        seconds: float,
        oldest: float,
    ) -> Had:
        """Return what `fetch` gives, or what another fetch with `key` does that is under way.

        uri: named where the time is over. oldest: no fetch is shared that began before.
        Raises TooManyFetches, NotHad, and what `fetch` raises.
        """
        running = self._running.get(key)
        if running is None or running.started < oldest:
            running = self._begin(key, uri, fetch, seconds)
        async with _limited(uri, seconds):
            return await asyncio.shield(running.task)

    @asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """End all fetches at the end of the block."""
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(
        self,
        key: Hashable,
        uri: str,
        fetch: Callable[[], Coroutine[object, object, Had]],
        seconds: float,
    ) -> _Running:
        if len(self._tasks) >= MAX_WAITING:
            raise TooManyFetches(f"{MAX_WAITING} fetches are under way or wait: try again")

        async def fetched() -> Had:
            async with _limited(uri, seconds), self._room:
                return await fetch()

        task = asyncio.create_task(fetched())
        running = self._running[key] = _Running(self._clock(), task)
        self._tasks.add(task)

        def ended(task: asyncio.Task[Had]) -> None:
            self._tasks.discard(task)
            if self._running.get(key) is running:
                del self._running[key]
            if not task.cancelled():
                task.exception()  # is told to who waits, if anybody does

        task.add_done_callback(ended)
        return running


@asynccontextmanager
async def _limited(uri: str, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise NotHad([(uri, FetchTooSlow(f"not fetched within {seconds:g} seconds"))]) from None
