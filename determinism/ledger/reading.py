"""Asks the ledger, in threads and with connections of their own."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

from action_cache.results import ActionKey
from cas.digest import Digest
from determinism.ledger import explaining, queries
from determinism.ledger.intake import Intake
from determinism.ledger.rows import Counts, Explained, Group, Grouping

THREADS = 2
QUERY_SECONDS = 60.0  # a query that takes longer is given up: TimeoutError
FLUSH_SECONDS = 10.0  # how long a question waits for what was told before it
CHECKED_STEPS = 100_000  # of SQLite's machine between two looks at the clock

Answer = TypeVar("Answer")


class LedgerUnreadable(RuntimeError):
    """There is no ledger that could be asked; the message says why."""


class Reading:
    """Questions to the ledger. Each raises LedgerUnreadable, and TimeoutError.

    instance: a name, or None for all. since: seconds since 1970; 0 for all that is kept.
    """

    def __init__(self, path: Path, intake: Intake) -> None:
        self._path = path
        self._intake = intake
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger-reader")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown()

    async def groups(
        self, instance: str | None, since: float, grouping: Grouping, limit: int
    ) -> list[Group]:
        """Return the worst: those that saved most seconds, then those that differed most."""
        return await self._ask(lambda read: queries.groups(read, instance, since, grouping, limit))

    async def counts(self, instance: str | None, since: float) -> Counts:
        """Return how much is kept."""
        return await self._ask(lambda read: queries.counts(read, instance, since))

    async def explain(self, key: ActionKey) -> Explained | None:
        """Return all that is known of one action, None where nothing is."""
        return await self._ask(lambda read: explaining.explain(read, key))

    async def actions_of(
        self, *, instance: str | None = None, invocation: str = "", target: str = ""
    ) -> list[ActionKey]:
        """Return the actions of an invocation, or whose target matches a glob, the latest first.

        At most determinism.ledger.queries.MAX_ACTIONS.
        """
        return await self._ask(lambda read: queries.actions_of(read, instance, invocation, target))

    async def generated(self, digests: Iterable[Digest]) -> set[Digest]:
        """Return those of `digests` that known actions made."""
        asked = tuple(digests)
        return await self._ask(lambda read: queries.generated(read, asked))

    async def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._answer, question)

    def _answer(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        with suppress(TimeoutError):  # the answer is then of what is written
            self._intake.wait().result(FLUSH_SECONDS)
        deadline = time.monotonic() + QUERY_SECONDS
        try:
            with closing(
                sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True)
            ) as read:
                read.set_progress_handler(lambda: time.monotonic() > deadline, CHECKED_STEPS)
                # One snapshot for all that belongs to the answer.
                read.execute("BEGIN")
                return question(read)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise TimeoutError(f"the ledger took more than {QUERY_SECONDS:g} s") from None
            raise LedgerUnreadable(f"the ledger {self._path} cannot be read: {error}") from error
