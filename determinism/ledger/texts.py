"""Texts that many rows share, each kept once."""

from __future__ import annotations

import sqlite3

from determinism.ledger.schema import EMPTY

REMEMBERED = 20_000  # texts whose ids are held in memory; about 300 bytes each
DAY = 86_400

_INTERN = """
INSERT INTO text (value, used) VALUES (?, ?)
ON CONFLICT (value) DO UPDATE SET used = max(used, excluded.used) RETURNING id
"""


class Texts:
    """Gives texts their ids, and notes the day on which each was needed last."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[str, tuple[int, int]] = {"": (EMPTY, 1 << 62)}

    def id_of(self, value: str, at: float) -> int:
        """Return the id of `value`, which something of the time `at` refers to."""
        known = self._known.get(value)
        if known is not None and known[1] >= at:
            return known[0]
        until = (int(at) // DAY + 1) * DAY
        (found,) = self._connection.execute(_INTERN, (value, until)).fetchone()
        if len(self._known) >= REMEMBERED:
            self.forget()
        self._known[value] = found, until
        return int(found)

    def forget(self) -> None:
        """Hold no id in memory, since texts were removed."""
        self._known = {"": (EMPTY, 1 << 62)}
