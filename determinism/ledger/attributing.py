"""Writes down where and why results differ, which is found out after they were observed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from action_cache.mode import Mode
from determinism.difference import Attributed
from determinism.ledger import cascade
from determinism.ledger.book import Book
from determinism.ledger.names import file_in, links_of, unpacked
from determinism.ledger.observing import ACTUAL, LATENT, STREAMS
from determinism.ledger.totals import Kind
from determinism.policy import Verdict

MAX_DIFFERENCES = 200  # kept of one observation

_SUBJECT = """
SELECT observation.action, observation.at, program.value, mnemonic.value, verdict.value,
mode.value, action.digest
FROM observation JOIN action ON action.id = observation.action
JOIN text AS program ON program.id = observation.program
JOIN text AS mnemonic ON mnemonic.id = observation.mnemonic
JOIN text AS verdict ON verdict.id = observation.verdict
JOIN text AS mode ON mode.id = observation.mode WHERE observation.id = ?
"""
_DIFFERENCE = "INSERT INTO difference VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MARK = """
UPDATE observation SET streams_only = :streams, differs = iif(differs, differs, :differs)
WHERE id = :number
"""


class _Subject(NamedTuple):
    """The observation that is attributed."""

    action: int
    at: float
    program: str
    mnemonic: str
    verdict: str
    mode: str
    digest: bytes


def attribute(book: Book, number: int, differences: Sequence[Attributed], *, latent: bool) -> None:
    """Write down how an observation differs, in place of what was said of that before.

    number: the observation's id; one that is not kept any more is passed over.
    latent: found by an audit, not in service.
    """
    connection = book.connection
    found = connection.execute(_SUBJECT, (number,)).fetchone()
    if found is None or not differences:
        return
    subject = _Subject(*found)
    replaced = connection.execute(
        "DELETE FROM difference WHERE observation = ? AND latent = ?", (number, latent)
    ).rowcount
    for each in differences[:MAX_DIFFERENCES]:
        connection.execute(_DIFFERENCE, _row(book, number, each, subject.at, latent=latent))
    streams = all(each.where in STREAMS for each in differences)
    differs = LATENT if latent else ACTUAL
    connection.execute(_MARK, {"streams": streams, "differs": differs, "number": number})
    if not latent:
        _open_credits(book, number, subject, differences)
    if not replaced:
        how = "latent" if latent else "actual"
        for cause in sorted({each.cause.value for each in differences}):
            book.counters.add(Kind.CONFLICTS, subject.program, subject.mnemonic, cause, how)


def learn(book: Book, *, program: str, formats: Iterable[str], at: float) -> None:
    """Write down that canonical forms of `formats` help with a program. at: seconds since 1970."""
    book.learned.learn(book.connection, program, formats, at)


def _open_credits(
    book: Book, number: int, subject: _Subject, differences: Sequence[Attributed]
) -> None:
    """Note who may be saved, where that was not known: the pin is older than the ledger."""
    if subject.verdict != Verdict.CONFLICT or subject.mode != Mode.PIN:
        return
    known = book.connection.execute(
        "SELECT 1 FROM diverged WHERE observation = ? LIMIT 1", (number,)
    ).fetchone()
    if known is None:
        function = unpacked(subject.digest).function
        files = {file_in(each.first, function) for each in differences} - {None}
        links = links_of(file for file in files if file is not None)
        cascade.open_credits(book.connection, subject.action, number, subject.at, links)


def _row(
    book: Book, number: int, each: Attributed, at: float, *, latent: bool
) -> tuple[int | str, ...]:
    return (
        number,
        each.where,
        each.first,
        each.then,
        book.texts.id_of(each.format, at),
        each.part,
        json.dumps(each.ranges),
        each.first_text,
        each.then_text,
        book.texts.id_of(each.cause.value, at),
        each.evidence,
        latent,
    )
