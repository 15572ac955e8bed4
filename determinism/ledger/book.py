"""An open ledger, as its one writer sees it."""

from __future__ import annotations

import sqlite3

from determinism.ledger.learned import Learned
from determinism.ledger.texts import Texts
from determinism.ledger.totals import Counters


class Book:
    """The file and what is held of it in memory. Of one thread; changes are in a transaction.

    Where a transaction is undone, a new Book takes this one's place: what is in memory would stay.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.texts = Texts(connection)
        self.learned = Learned(connection)
        self.counters = Counters(connection)
