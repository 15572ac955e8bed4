"""What waits to be written: bounded, and cheap for those who bring it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from action_cache.results import ActionKey
from determinism.ledger.book import Book

MAX_WAITING = 500_000  # rows, over all entries: about 100 MB
BATCH_ROWS = 20_000  # of one transaction, but for an entry that is larger by itself
BATCH_ENTRIES = 500  # of one transaction
MAX_HITS = 100_000  # actions whose hits wait


class Entry(NamedTuple):
    """write: what writes it. rows: about how many; a bound, not a promise."""

    write: Callable[[Book], object]
    rows: int


class Batch(NamedTuple):
    """What is written next. hits: when each action was hit last. waiters: told when it is done."""

    entries: list[Entry]
    hits: dict[ActionKey, float]
    waiters: list[Future[None]]
    last: bool


class Intake:
    """Takes entries from any thread, and gives them to one.

    hits: when each action was hit last, in seconds since 1970; at most MAX_HITS. Who notes one does
    so here, without a lock: it is on the way of every cached answer. dropped: entries, and hits,
    that found no room.
    """

    def __init__(self) -> None:
        self.hits: dict[ActionKey, float] = {}
        self.dropped = 0
        self._entries: deque[Entry] = deque()
        self._rows = 0
        self._waiters: list[Future[None]] = []
        self._closed = False
        self._changed = threading.Condition()

    def put(self, entry: Entry) -> None:
        """Take an entry, or drop it where too much waits."""
        with self._changed:
            if self._closed or self._rows + entry.rows > MAX_WAITING:
                self.dropped += 1
                return
            self._entries.append(entry)
            self._rows += entry.rows
            if len(self._entries) == BATCH_ENTRIES:
                self._changed.notify()

    def wait(self) -> Future[None]:
        """Have what was put so far written at once; return what is done then."""
        waiter: Future[None] = Future()
        with self._changed:
            if self._closed:
                waiter.set_result(None)
            else:
                self._waiters.append(waiter)
                self._changed.notify()
        return waiter

    def close(self) -> None:
        """Take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, seconds: float) -> Batch:
        """Wait until a batch is full, somebody waits for it, or `seconds` have passed."""
        with self._changed:
            if not (self._closed or self._waiters or len(self._entries) >= BATCH_ENTRIES):
                self._changed.wait(seconds)
            entries: list[Entry] = []
            rows = 0
            while self._entries and len(entries) < BATCH_ENTRIES:
                if entries and rows + self._entries[0].rows > BATCH_ROWS:
                    break
                entries.append(self._entries.popleft())
                rows += entries[-1].rows
            self._rows -= rows
            everything = not self._entries
            waiters = self._waiters if everything else []
            if everything:
                self._waiters = []
            # A hit that is being noted in the old dictionary at this moment may be lost.
            hits, self.hits = self.hits, {}
            return Batch(entries, dict(list(hits.items())), waiters, everything and self._closed)
