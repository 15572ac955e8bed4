"""Observations of actions that exist nowhere else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from action_cache.results import ActionKey
from cas.digest import Digest
from determinism.difference import Attributed, Cause
from determinism.ledger import schema
from determinism.ledger.book import Book
from determinism.ledger.retention import LedgerLimits
from determinism.ledger.store import Ledger, opened
from determinism.observation import Observation, Source
from determinism.outcome import Outcome
from determinism.policy import Verdict

NOW = 1_800_000_000.0
DAY = 86_400.0
LIMITS = LedgerLimits(max_seconds=90 * DAY, max_bytes=1 << 30)
SILENT = {"stdout": "", "stderr": "", "exit code": "0"}


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


def key(name: str, instance: str = "main") -> ActionKey:
    return ActionKey(instance, Digest.of(name.encode()))


def file(content: str) -> Digest:
    return Digest.of(content.encode())


def seen(
    name: str,
    outputs: Mapping[str, str],
    verdict: Verdict | None = Verdict.FIRST,
    *,
    streams: Mapping[str, str] = SILENT,
    **other: Any,
) -> Observation:
    """Return an observation. outputs: by path, the content of a file, or what an outcome says."""
    said = {
        path: content if "/" in content or " " in content else str(file(content))
        for path, content in outputs.items()
    }
    facts: dict[str, Any] = {
        "key": key(name),
        "at": NOW,
        "source": Source.SERVICE,
        "verdict": verdict,
        "worker": "worker-1",
        "toolchain": "tools-1",
        "switches": ("addresses", "path"),
        "rules": "ar 1, gzip 2",
        "program": "gcc",
        "version": "gcc 12.2.0",
        "mnemonic": "CppCompile",
        "target": f"//some:{name}",
        "invocation": "invocation-1",
        "tool": "bazel 7.1",
        "input_root": Digest.of(b"root of " + name.encode()),
        "seconds": 2.0,
        "exit_code": 0,
        "outcome": Outcome(said, dict(streams)),
        "before": {},
        "formats": {},
        "root": "/b/0123456789ab",
        "begun": NOW - 3,
        "ended": NOW - 1,
    }
    return Observation(**facts | other)


def difference(where: str = "out", first: str = "1", then: str = "2", **other: Any) -> Attributed:
    """Return a difference between two contents of a file."""
    facts: dict[str, Any] = {"cause": Cause.TIME, "format": "ar"}
    return Attributed(where=where, first=str(file(first)), then=str(file(then)), **facts | other)


@contextmanager
def ledger(
    folder: Path, limits: LedgerLimits = LIMITS, clock: Clock | None = None
) -> Iterator[Ledger]:
    with opened(folder / "ledger.sqlite", limits, clock or Clock()) as made:
        yield made


@contextmanager
def book() -> Iterator[Book]:
    """Open a ledger without a file or a thread."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        schema.prepare(connection)
        yield Book(connection)
    finally:
        connection.close()


def rows(folder: Path, statement: str, *values: object) -> list[Any]:
    """Ask the file with SQLite alone."""
    connection = sqlite3.connect(folder / "ledger.sqlite")
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()
