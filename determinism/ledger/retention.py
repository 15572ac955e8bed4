"""What the ledger forgets, oldest first and in small steps, so that its file stays in bounds."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

CONFLICTS_LAST = 4  # times as long as agreements
_EVER = 1 << 62
STEP_ROWS = 500  # removed in one transaction
FREE_PAGES = 1000  # given back in one transaction
FURTHER = 0.9
TARGET = 0.9  # part of max_bytes that may be in use; the rest is for what is written next

_CHOSEN = {
    "agreeing": """
        SELECT id, action, outcome FROM observation
        WHERE differs = 0 AND at <= ? ORDER BY at LIMIT ?""",
    "differing": """
        SELECT id, action, outcome FROM observation
        WHERE differs > 0 AND at <= ? ORDER BY at LIMIT ?""",
}
_OLDEST = """
SELECT (SELECT min(at) FROM observation WHERE differs = 0),
(SELECT min(at) FROM observation WHERE differs > 0), (SELECT min(used) FROM action)
"""
_OF_OBSERVATION = (
    "DELETE FROM difference WHERE observation = ?",
    "DELETE FROM rewritten WHERE observation = ?",
    "DELETE FROM diverged WHERE observation = ?",
    "DELETE FROM observation WHERE id = ?",
)
_UNUSED_OUTCOME = """
SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM observation WHERE action = :action AND outcome = :outcome)
AND NOT EXISTS (SELECT 1 FROM action WHERE id = :action AND pin = :outcome)
"""
_OF_OUTCOME = (
    "DELETE FROM output WHERE outcome = ?",
    "DELETE FROM made WHERE outcome = ?",
    "DELETE FROM outcome WHERE id = ?",
)
_NEXT_ACTIONS = """
SELECT id, used, EXISTS (SELECT 1 FROM observation WHERE observation.action = action.id)
FROM action WHERE (used, id) > (?, ?) AND used < ? ORDER BY used, id LIMIT ?
"""
_OF_ACTION = (
    "DELETE FROM consumed WHERE action = ?",
    "DELETE FROM credit WHERE consumer = ?",
    "DELETE FROM credit WHERE origin = ?",
    "DELETE FROM audit WHERE action = ?",
    "DELETE FROM action WHERE id = ?",
)
_TEXTS = """
DELETE FROM text WHERE id IN (SELECT id FROM text WHERE used < ? AND id <> 1 ORDER BY used LIMIT ?)
"""


@dataclass(frozen=True, slots=True)
class LedgerLimits:
    """max_seconds: age of what is kept; conflicts are kept CONFLICTS_LAST times as long.

    max_bytes: of the file, the write-ahead log beside it not counted.
    """

    max_seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Oldest:
    """When the oldest observations were made, in seconds since 1970; None where there are none."""

    agreeing: float | None
    differing: float | None


class Turn(NamedTuple):
    """What goes: observations of one kind, "agreeing" or "differing", made until `until`."""

    kind: str
    until: float


def turn(oldest: Oldest, limits: LedgerLimits, now: float, *, crowded: bool) -> Turn | None:
    """Return which observations are to go first, None for none.

    crowded: the file holds more than it should, so that some must go.
    """
    slower = {"agreeing": 1, "differing": CONFLICTS_LAST}
    ages = {
        kind: (now - at) / slower[kind]
        for kind, at in (("agreeing", oldest.agreeing), ("differing", oldest.differing))
        if at is not None
    }
    if not ages:
        return None
    kind = max(ages, key=lambda each: ages[each])
    youngest = limits.max_seconds
    if crowded:
        # To somewhat younger than the oldest of the other kind, so that turns are not too short.
        others = [age for other, age in ages.items() if other != kind]
        youngest = min(youngest, FURTHER * max(others, default=0))
    return Turn(kind, now - youngest * slower[kind]) if ages[kind] >= youngest else None


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return what the file holds, free pages not counted."""
    return (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * _pragma(
        connection, "page_size"
    )


class Retention:
    """Removes rows, in transactions of its caller."""

    def __init__(self, connection: sqlite3.Connection, limits: LedgerLimits) -> None:
        self._connection = connection
        self._limits = limits
        self._reached = (0, 0)  # where the round through the actions is

    def crowded(self) -> bool:
        """Tell whether so much is in use that something must go."""
        return used_bytes(self._connection) > TARGET * self._limits.max_bytes

    def has_room(self) -> bool:
        """Tell whether more may be written at all."""
        return used_bytes(self._connection) < self._limits.max_bytes

    def step(self, now: float) -> bool:
        """Remove some of what is to go; return whether there was anything."""
        crowded = self.crowded()
        oldest = Oldest(*self._connection.execute(_OLDEST).fetchone()[:2])
        first = turn(oldest, self._limits, now, crowded=crowded)
        if first is not None:
            self._forget_observations(first)
        horizon = now - self._limits.max_seconds
        if crowded:
            horizon = max(horizon, now if oldest.agreeing is None else oldest.agreeing)
        gone = self._forget_actions(horizon)
        return first is not None or gone

    def forget_texts(self) -> bool:
        """Remove some texts that nothing refers to; return whether there were any."""
        times = self._connection.execute(_OLDEST).fetchone()
        needed = min((at for at in times if at is not None), default=_EVER)
        return self._connection.execute(_TEXTS, (int(needed), STEP_ROWS)).rowcount > 0

    def shrink(self) -> None:
        """Give free pages back where the file is longer than it may be."""
        pages = _pragma(self._connection, "page_count")
        if pages * _pragma(self._connection, "page_size") > self._limits.max_bytes:
            # It frees a page with each step, and `execute` takes but one.
            self._connection.executescript(f"PRAGMA incremental_vacuum({FREE_PAGES})")

    def _forget_observations(self, chosen: Turn) -> None:
        rows = self._connection.execute(_CHOSEN[chosen.kind], (chosen.until, STEP_ROWS)).fetchall()
        for statement in _OF_OBSERVATION:
            self._connection.executemany(statement, [(number,) for number, _, _ in rows])
        for action, outcome in {(action, outcome) for _, action, outcome in rows}:
            said = {"action": action, "outcome": outcome}
            if self._connection.execute(_UNUSED_OUTCOME, said).fetchone():
                self._forget_outcome(outcome)

    def _forget_outcome(self, outcome: int) -> None:
        for statement in _OF_OUTCOME:
            self._connection.execute(statement, (outcome,))

    def _forget_actions(self, horizon: float) -> bool:
        """Look at the next actions that were not used since `horizon`, round and round."""
        rows = self._connection.execute(
            _NEXT_ACTIONS, (*self._reached, horizon, STEP_ROWS)
        ).fetchall()
        self._reached = rows[-1][1::-1] if len(rows) == STEP_ROWS else (0, 0)
        gone = [action for action, _, observed in rows if not observed]
        for action in gone:
            outcomes = self._connection.execute(
                "SELECT id FROM outcome WHERE action = ?", (action,)
            ).fetchall()
            for (outcome,) in outcomes:
                self._forget_outcome(outcome)
            for statement in _OF_ACTION:
                self._connection.execute(statement, (action,))
        return bool(gone)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
