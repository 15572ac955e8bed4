"""Work on one file that is done in threads, and survives that whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TypeVar

Result = TypeVar("Result")


class Lane:
    """Calls that work on one file, in `threads`, one after the other.

    A thread cannot be cancelled: it goes on with the file after the task that waited for it has
    ended. What closes the file must wait for it, or the thread would write to whatever file
    is opened next under the same number.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self._ended: Callable[[Callable[[], object]], None] = _at_once

    async def run(self, call: Callable[[], Result]) -> Result:
        """Run `call` in a thread; not to be called before the last one has returned."""
        work = self._threads.submit(call)
        self._ended = _after(work)
        return await asyncio.wrap_future(work)

    def close(self, call: Callable[[], object]) -> None:
        """Run `call` once no thread works on the file: now, unless a `run` was cancelled."""
        self._ended(call)


def _at_once(call: Callable[[], object]) -> None:
    call()


def _after(work: Future[Result]) -> Callable[[Callable[[], object]], None]:
    def later(call: Callable[[], object]) -> None:
        work.add_done_callback(lambda _: call())

    return later
