"""Several things at one time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TypeVar

Item = TypeVar("Item")


async def each(
    act: Callable[[Item], Awaitable[object]], items: Iterable[Item], *, width: int
) -> None:
    """Call `act` on every item, `width` of them at a time; the next item is made when one is done.

    The first exception ends the others and is raised as it is, not in a group.
    """
    room = asyncio.Semaphore(width)

    async def limited(item: Item) -> None:
        try:
            await act(item)
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as tasks:
            for item in items:
                await room.acquire()
                tasks.create_task(limited(item))
    except ExceptionGroup as group:
        raise _first(group) from None


async def first_of(*ways: Coroutine[object, object, object]) -> None:
    """Go all ways until one comes to its end, and end the others; raise what it raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
