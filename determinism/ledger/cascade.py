"""What pinning saved: later actions that were hits since an output stayed what it was.

A conflict of an action A at a time t, answered with the pin, saved each action C that consumed,
directly or through other actions, an output of A in which the new result differed, that was known
at t, and that had a cache hit after t and before A's next conflict: once, and its execution time.
It is an upper bound: whether C's own inputs would in the end have differed is not known, where an
action between would have given the same outputs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from cas.digest import DigestFunction
from determinism.ledger.names import file_in, link_of, links_of
from determinism.outcome import Outcome

MAX_DISTANCE = 64  # actions in a row that are followed
MAX_CONSUMERS = 10_000  # of one conflict, the nearest first

_REACHED = "CREATE TEMP TABLE IF NOT EXISTS reached (action INTEGER PRIMARY KEY, distance INTEGER)"
_DIRECT = """
INSERT OR IGNORE INTO reached SELECT consumed.action, 1 FROM consumed
WHERE consumed.link = ? AND consumed.action <> ? LIMIT ?
"""
_FURTHER = """
INSERT OR IGNORE INTO reached SELECT DISTINCT consumed.action, :distance + 1
FROM reached JOIN outcome ON outcome.action = reached.action
JOIN made ON made.outcome = outcome.id JOIN consumed ON consumed.link = made.link
WHERE reached.distance = :distance AND consumed.action <> :origin
AND consumed.action NOT IN (SELECT action FROM reached) LIMIT :room
"""
_CLOSE = "UPDATE credit SET open = 0 WHERE origin = ? AND since <= ?"
_OPEN = """
INSERT INTO credit SELECT action, :origin, :conflict, :at, distance, 1, 0 FROM reached WHERE true
ON CONFLICT (consumer, origin) DO UPDATE SET conflict = excluded.conflict, since = excluded.since,
distance = excluded.distance, open = 1 WHERE since <= excluded.since
"""
_CREDITS = "SELECT origin, conflict FROM credit WHERE consumer = ? AND open = 1 AND since < ?"
_REDEEM = "UPDATE credit SET open = 0, saved = saved + 1 WHERE consumer = ? AND origin = ?"
_SAVED = """
UPDATE observation SET saved_actions = saved_actions + 1, saved_seconds = saved_seconds + ?
WHERE id = ?
"""


class Content(NamedTuple):
    """What a result holds. made: links of its files, those in output directories among them."""

    outcome: Outcome
    made: frozenset[int]


def diverged(pin: Content, new: Content, function: DigestFunction) -> set[int]:
    """Return the links of those files of the pin that `new` has not in their place.

    function: that of the digests in the outcomes.
    """
    named = {
        file
        for difference in pin.outcome.differences(new.outcome)
        if difference.where in pin.outcome.outputs
        and (file := file_in(difference.first, function)) is not None
    }
    outputs = {file_in(said, function) for said in pin.outcome.outputs.values()}
    direct = {link_of(file.hash) for file in outputs if file is not None}
    return links_of(named) | (pin.made - new.made - direct)


def reach(connection: sqlite3.Connection, links: Iterable[int], origin: int) -> int:
    """Fill the temporary table `reached` with the actions that `links` went into.

    origin: the action that made them, which is left out. Returns how many were reached: at most
    MAX_CONSUMERS, by at most MAX_DISTANCE actions.
    """
    connection.execute(_REACHED)
    connection.execute("DELETE FROM reached")
    count = 0
    for link in sorted(links):
        room = MAX_CONSUMERS - count
        count += connection.execute(_DIRECT, (link, origin, room)).rowcount
    distance, latest = 1, count
    while latest and distance < MAX_DISTANCE and count < MAX_CONSUMERS:
        said = {"distance": distance, "origin": origin, "room": MAX_CONSUMERS - count}
        latest = connection.execute(_FURTHER, said).rowcount
        count, distance = count + latest, distance + 1
    return count


def close_credits(connection: sqlite3.Connection, origin: int, at: float) -> None:
    """End what the last conflict of `origin` may still save."""
    connection.execute(_CLOSE, (origin, at))


def open_credits(
    connection: sqlite3.Connection, origin: int, conflict: int, at: float, links: Iterable[int]
) -> None:
    """Note who may be saved by a conflict. links: of what differs. at: seconds since 1970."""
    connection.executemany(
        "INSERT OR IGNORE INTO diverged VALUES (?, ?)",
        [(conflict, link) for link in sorted(links)],
    )
    if reach(connection, links, origin):
        connection.execute(_OPEN, {"origin": origin, "conflict": conflict, "at": at})


def redeem(connection: sqlite3.Connection, consumer: int, seconds: float, at: float) -> bool:
    """Note a hit of `consumer` at `at`; return whether a conflict would have prevented it.

    seconds: how long running it takes.
    """
    credits = connection.execute(_CREDITS, (consumer, at)).fetchall()
    for origin, conflict in credits:
        connection.execute(_REDEEM, (consumer, origin))
        connection.execute(_SAVED, (seconds, conflict))
    return bool(credits)
