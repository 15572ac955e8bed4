"""Which formats the outputs of which programs were seen to differ in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

MAX_PAIRS = 10_000  # clients name their programs; what comes beyond is not learned
NOTHING: frozenset[str] = frozenset()


class Learned:
    """Pairs of a program and a format. They are never unlearned: outputs would change again."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._formats: dict[str, frozenset[str]] = {}
        self._count = 0
        for program, format in connection.execute("SELECT program, format FROM learned"):
            self._enter(program, format)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for program, formats in list(self._formats.items()):
            yield from ((program, format) for format in sorted(formats))

    def formats_for(self, program: str) -> frozenset[str]:
        return self._formats.get(program, NOTHING)

    def learn(
        self, connection: sqlite3.Connection, program: str, formats: Iterable[str], at: float
    ) -> None:
        """Add pairs that are new. at: seconds since 1970."""
        for format in sorted(formats):
            if not program or format in self.formats_for(program) or self._count >= MAX_PAIRS:
                continue
            connection.execute(
                "INSERT OR IGNORE INTO learned VALUES (?, ?, ?)", (program, format, at)
            )
            self._enter(program, format)

    def _enter(self, program: str, format: str) -> None:
        # A new value each time: who reads it is another thread.
        self._formats[program] = self.formats_for(program) | {format}
        self._count += 1
