"""The thread that writes the ledger, in batches."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from action_cache.results import ActionKey
from determinism.ledger import schema
from determinism.ledger.book import Book
from determinism.ledger.intake import Entry, Intake
from determinism.ledger.observing import hit
from determinism.ledger.retention import LedgerLimits, Retention
from determinism.ledger.totals import COVERAGE_SECONDS, Coverage, covered

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.2
TENDING_SECONDS = 10.0  # between two looks at what is to be forgotten, where there is room
TENDING_STEPS = 4  # of one look; a crowded file is tended until it is not
RETRY_SECONDS = 10.0  # between two attempts to open a file that cannot be opened
TELLING_SECONDS = 60.0  # between two words about a fault that lasts
_FAULTS = (sqlite3.Error, OSError, schema.NotALedger, ValueError, OverflowError)

Clock = Callable[[], float]


class Writer:
    """Owns the one connection that writes. Everything but `open` runs in its thread.

    book: None while the file cannot be opened. recorded, dropped: entries that were written, and
    that could not be. coverage: see determinism.ledger.totals.
    """

    def __init__(self, path: Path, limits: LedgerLimits, intake: Intake, clock: Clock) -> None:
        self.book: Book | None = None
        self.recorded = 0
        self.dropped = 0
        self.coverage = Coverage(0, 0)
        self.thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._path = path
        self._limits = limits
        self._intake = intake
        self._clock = clock
        self._tell_at = 0.0
        self._retry_at = 0.0
        self._tend_at = 0.0

    def open(self) -> None:
        """Open the file; where it is damaged, begin another; where that fails, try later."""
        self._retry_at = time.monotonic() + RETRY_SECONDS
        try:
            try:
                self._begin(schema.connect(self._path))
            except _FAULTS as error:
                if not schema.is_damage(error):
                    raise
                self._set_aside(error)
                self._begin(schema.connect(self._path))
        except _FAULTS as error:
            self._tell(error)

    def _begin(self, connection: sqlite3.Connection) -> None:
        try:
            self.book, self._retention = Book(connection), Retention(connection, self._limits)
        except BaseException:
            connection.close()
            raise

    def _run(self) -> None:
        batch = self._intake.take(BATCH_SECONDS)
        while True:
            if self.book is None and time.monotonic() >= self._retry_at:
                self.open()
            if batch.entries or batch.hits:
                self._write(batch.entries, batch.hits)
            self._tend(at_once=bool(batch.waiters))
            for waiter in batch.waiters:
                waiter.set_result(None)
            if batch.last:
                break
            batch = self._intake.take(BATCH_SECONDS)
        if self.book is not None:
            self.book.connection.close()

    def _write(self, entries: Sequence[Entry], hits: Mapping[ActionKey, float]) -> None:
        """Write all in one transaction; where an entry cannot be, each in its own."""
        try:
            self._commit(entries, hits)
        except _FAULTS as error:
            if schema.is_damage(error):
                self._begin_anew(error)
                self._write_apart([entries], {})
            elif schema.is_outside(error):
                self.dropped += len(entries)
                self._tell(error)
            else:
                self._write_apart([[each] for each in entries], hits)

    def _write_apart(
        self, groups: Sequence[Sequence[Entry]], hits: Mapping[ActionKey, float]
    ) -> None:
        """Write each of `groups` in a transaction, and leave out those that cannot be written."""
        for entries, last in [*((group, {}) for group in groups), ((), hits)]:
            try:
                self._commit(entries, last)
            except _FAULTS as error:
                self.dropped += len(entries)
                self._tell(error)

    def _commit(self, entries: Sequence[Entry], hits: Mapping[ActionKey, float]) -> None:
        if self.book is None or not self._retention.has_room():
            self.dropped += len(entries)
            return
        with self._transaction() as book:
            for entry in entries:
                entry.write(book)
            for key, at in hits.items():
                hit(book, key, at)
            book.counters.flush(book.connection)
        self.recorded += len(entries)

    @contextmanager
    def _transaction(self) -> Iterator[Book]:
        """Commit what the block writes; where it fails, undo it, in memory too."""
        book = self.book
        assert book is not None
        book.connection.execute("BEGIN IMMEDIATE")
        try:
            yield book
            book.connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have undone it already
                book.connection.execute("ROLLBACK")
            self.book = None
            self._begin(book.connection)
            raise

    def _tend(self, *, at_once: bool) -> None:
        """Forget what is to be forgotten, and count what was audited."""
        if self.book is None:
            return
        try:
            crowded = self._retention.crowded()
            if crowded or at_once or time.monotonic() >= self._tend_at:
                self._tend_at = time.monotonic() + TENDING_SECONDS
                self._forget()
                since = self._clock() - COVERAGE_SECONDS
                self.coverage = covered(self.book.connection, since)
        except _FAULTS as error:
            if schema.is_damage(error):
                self._begin_anew(error)
            else:
                self._tell(error)

    def _forget(self) -> None:
        for steps in count(1):
            with self._transaction():
                gone = self._retention.step(self._clock())
            if not gone or (steps >= TENDING_STEPS and not self._retention.crowded()):
                break
        with self._transaction() as book:
            if self._retention.forget_texts():
                book.texts.forget()
        self._retention.shrink()

    def _begin_anew(self, error: Exception) -> None:
        """Leave a file that turned out to be damaged."""
        if self.book is not None:
            self.book.connection.close()
            self.book = None
        try:
            self._set_aside(error)
        except OSError as why:
            self._tell(why)
        self.open()

    def _set_aside(self, error: Exception) -> None:
        aside = schema.set_aside(self._path)
        log.warning("the ledger %s is damaged: %s; it is %s now", self._path, error, aside)

    def _tell(self, error: Exception) -> None:
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELLING_SECONDS
            log.warning("the ledger %s misses what it is told: %s", self._path, error)
