"""Several things at one time, as one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def each(
    items: Iterable[Item], act: Callable[[Item], Awaitable[Result]], *, limit: int
) -> list[Result]:
    """Await `act` for each of `items`, at most `limit` at one time; return what they return.

    If some raise, the others are cancelled, and what the first one raised is raised.
    """
    turn = asyncio.Semaphore(limit)

    async def one(item: Item) -> Result:
        async with turn:
            return await act(item)

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(item)) for item in items]
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return [task.result() for task in running]
