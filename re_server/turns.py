"""Long requests in slices, so that other calls have their turn on the event loop between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

AT_ONCE = 1_000  # digests: to look them all up takes some 20 to 40 ms


async def turns(items: Sequence[Item]) -> AsyncIterator[Sequence[Item]]:
    """Yield `items` in slices of AT_ONCE, and let others run before each but the first."""
    if len(items) <= AT_ONCE:
        yield items
        return
    for start in range(0, len(items), AT_ONCE):
        if start:
            await asyncio.sleep(0)
        yield items[start : start + AT_ONCE]
