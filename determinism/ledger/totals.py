"""What the ledger counts, for metrics: over its whole life, whatever of it is still kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

OTHER = "other"
MAX_LABELS = 50  # programs, and mnemonics, that are told apart
MAX_COUNTERS = 5000  # kept in the file: clients name programs and mnemonics

_ADD = """
INSERT INTO counter VALUES (?, ?, ?)
ON CONFLICT (kind, labels) DO UPDATE SET value = value + excluded.value
"""
COVERAGE_SECONDS = 30 * 86_400  # what the part of actions that is audited is counted over
_COVERED = """
SELECT (SELECT count(*) FROM action WHERE executed > 0 AND executed >= :since),
(SELECT count(*) FROM action WHERE audited > 0 AND audited >= :since)
"""


class Kind(StrEnum):
    """What a counter counts; its labels stand behind it."""

    OBSERVATIONS = "observations"  # source, verdict
    CONFLICTS = "conflicts"  # program, mnemonic, cause, "latent" or "actual"
    REWRITTEN_FILES = "rewritten files"  # format
    REWRITTEN_BYTES = "rewritten bytes"  # format
    SAVED_ACTIONS = "saved actions"
    SAVED_SECONDS = "saved seconds"


class Counted(NamedTuple):
    kind: Kind
    labels: tuple[str, ...]


class ConflictLabels(NamedTuple):
    """cause: of determinism.difference.Cause. latent: found by an audit, not in service."""

    program: str
    mnemonic: str
    cause: str
    latent: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the file was begun.

    observations: by source and verdict ("" where there is none). conflicts: attributed ones, each
    once for each of its causes. rewritten: files, and bytes that were replaced, by format.
    saved_actions, saved_seconds: each hit once, however many conflicts would have prevented it.
    """

    observations: Mapping[tuple[str, str], int] = field(default_factory=dict)
    conflicts: Mapping[ConflictLabels, int] = field(default_factory=dict)
    rewritten: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    saved_actions: int = 0
    saved_seconds: float = 0.0


class Coverage(NamedTuple):
    """Actions that were executed, and that were audited, within COVERAGE_SECONDS."""

    executed: int
    audited: int


def covered(connection: sqlite3.Connection, since: float) -> Coverage:
    """Count the actions that were executed and audited. since: seconds since 1970."""
    found = connection.execute(_COVERED, {"since": since}).fetchone()
    return Coverage(*found)


class ClosedLabels:
    """At most MAX_LABELS values, those that counted most at the start and then the first that come.

    None is ever taken out: a series that ended in one value would go on in another, backwards.
    """

    def __init__(self, ranked: Iterable[str] = ()) -> None:
        self._admitted: set[str] = set()
        for value in ranked:
            self.label(value)

    def label(self, value: str) -> str:
        """Return `value`, or OTHER."""
        if value in self._admitted:
            return value
        if len(self._admitted) >= MAX_LABELS:
            return OTHER
        self._admitted.add(value)
        return value


class Counters:
    """The counters of a file, held in memory as well."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._values: dict[Counted, float] = {
            Counted(Kind(kind), tuple(json.loads(labels))): value
            for kind, labels, value in connection.execute("SELECT kind, labels, value FROM counter")
        }
        self._added: dict[Counted, float] = {}
        self._programs = ClosedLabels(self._ranked(0))
        self._mnemonics = ClosedLabels(self._ranked(1))

    def add(self, kind: Kind, *labels: str, value: float = 1) -> None:
        """Count; of CONFLICTS the first two labels are OTHER where there are too many."""
        counted = Counted(kind, labels)
        if counted not in self._values:
            if len(self._values) >= MAX_COUNTERS and kind is Kind.CONFLICTS:
                counted = Counted(kind, (OTHER, OTHER, *labels[2:]))
            self._values.setdefault(counted, 0)
        self._added[counted] = self._added.get(counted, 0) + value

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write what was added."""
        rows = [(each.kind, json.dumps(each.labels), by) for each, by in self._added.items()]
        connection.executemany(_ADD, rows)
        for each, by in self._added.items():
            self._values[each] += by
        self._added.clear()

    def totals(self) -> Totals:
        """Return what was flushed."""
        return Totals(
            observations={
                (labels[0], labels[1]): int(value) for labels, value in self._of(Kind.OBSERVATIONS)
            },
            conflicts=self._conflicts(),
            rewritten=self._rewritten(),
            saved_actions=int(self._values.get(Counted(Kind.SAVED_ACTIONS, ()), 0)),
            saved_seconds=self._values.get(Counted(Kind.SAVED_SECONDS, ()), 0.0),
        )

    def _of(self, kind: Kind) -> list[tuple[tuple[str, ...], float]]:
        return [
            (each.labels, value) for each, value in list(self._values.items()) if each.kind is kind
        ]

    def _ranked(self, label: int) -> list[str]:
        """Return the values of a label of CONFLICTS, that with the most first."""
        ranked: dict[str, float] = {}
        for labels, value in self._of(Kind.CONFLICTS):
            ranked[labels[label]] = ranked.get(labels[label], 0) + value
        return sorted(ranked, key=lambda value: (-ranked[value], value))

    def _conflicts(self) -> dict[ConflictLabels, int]:
        found: dict[ConflictLabels, int] = {}
        for (program, mnemonic, cause, how), value in self._of(Kind.CONFLICTS):
            labels = ConflictLabels(
                self._programs.label(program), self._mnemonics.label(mnemonic), cause,
                how == "latent",
            )  # fmt: skip
            found[labels] = found.get(labels, 0) + int(value)
        return found

    def _rewritten(self) -> dict[str, tuple[int, int]]:
        sizes = {labels: int(value) for labels, value in self._of(Kind.REWRITTEN_BYTES)}
        return {
            labels[0]: (int(value), sizes.get(labels, 0))
            for labels, value in self._of(Kind.REWRITTEN_FILES)
        }
