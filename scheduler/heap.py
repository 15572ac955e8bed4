"""A priority queue whose items can be moved and taken out."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)

SLACK = 16  # entries out of date that are not worth a clean-up


class Heap(Generic[Item]):
    """Items by key, the least first; of equal keys the one that was put first.

    Each call costs O(log n) on average: what is moved or taken out leaves an entry that is out of
    date, and such entries are cleared when they are more than the others.
    Iteration is in the order in which items came in.
    """

    __slots__ = ("_entries", "_live", "_puts")

    def __init__(self) -> None:
        self._entries: list[tuple[tuple[float, ...], int, Item]] = []
        self._live: dict[Item, int] = {}
        self._puts = 0

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, item: Item) -> bool:
        return item in self._live

    def __iter__(self) -> Iterator[Item]:
        return iter(self._live)

    def put(self, item: Item, *key: float) -> None:
        """Add `item`, or move it to another key."""
        self._puts += 1
        self._live[item] = self._puts
        heappush(self._entries, (key, self._puts, item))
        self._clean()

    def discard(self, item: Item) -> None:
        """Take `item` out if it is there."""
        if self._live.pop(item, None) is not None:
            self._clean()

    def first(self) -> Item:
        """Return the item of the least key; raise IndexError if there is none."""
        return self._first()[2]

    def first_key(self) -> tuple[float, ...]:
        """Return the least key; raise IndexError if there is none."""
        return self._first()[0]

    def _first(self) -> tuple[tuple[float, ...], int, Item]:
        entries = self._entries
        while self._live.get(entries[0][2]) != entries[0][1]:
            heappop(entries)
        return entries[0]

    def _clean(self) -> None:
        if len(self._entries) > 2 * len(self._live) + SLACK:
            self._entries = [
                entry for entry in self._entries if self._live.get(entry[2]) == entry[1]
            ]
            heapify(self._entries)
