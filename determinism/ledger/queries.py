"""Questions to the ledger, each over one connection that reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from action_cache.results import ActionKey
from cas.digest import Digest
from determinism.difference import Cause
from determinism.ledger.names import link_of, unpacked
from determinism.ledger.rows import Counts, Group, Grouping

MAX_ACTIONS = 10_000  # that actions_of returns

# Each action with what of it differed; `name` is the id of a text, or of the action.
_NAMED = """
CREATE TEMP TABLE named AS
SELECT {name} AS name, action.id AS action, observation.id AS observation, differs, saved_actions,
observation.saved_seconds AS saved_seconds, streams_only
FROM observation JOIN action ON action.id = observation.action {joined}
WHERE differs > 0 AND at >= :since AND (:instance IS NULL OR action.instance = (
SELECT id FROM text WHERE value = :instance))
"""
_CAUSES = """
LEFT JOIN (SELECT DISTINCT observation, cause FROM difference) AS caused
ON caused.observation = observation.id
"""
_NAMES: dict[Grouping, tuple[str, str]] = {
    Grouping.ACTION: ("action.id", ""),
    Grouping.PROGRAM: ("action.program", ""),
    Grouping.TARGET: ("action.target", ""),
    Grouping.MNEMONIC: ("action.mnemonic", ""),
    Grouping.CAUSE: ("coalesce(caused.cause, 0)", _CAUSES),
}
_GROUPS = """
SELECT name, count(DISTINCT action), total(differs = 1), total(differs = 2), total(saved_actions),
total(saved_seconds) AS seconds, min(streams_only)
FROM named GROUP BY name ORDER BY seconds DESC, count(*) DESC, name LIMIT ?
"""
_FIRST = """
SELECT action FROM named WHERE name = ? GROUP BY action
ORDER BY total(saved_seconds) DESC, count(*) DESC, action LIMIT 1
"""
_GROUP_CAUSES = """
SELECT DISTINCT text.value FROM named JOIN difference USING (observation)
JOIN text ON text.id = difference.cause WHERE name = ? ORDER BY text.value
"""
ACTION = """
SELECT instance.value, action.digest, program.value, target.value, mnemonic.value, action.seconds
FROM action JOIN text AS instance ON instance.id = action.instance
JOIN text AS program ON program.id = action.program
JOIN text AS target ON target.id = action.target
JOIN text AS mnemonic ON mnemonic.id = action.mnemonic WHERE action.id = ?
"""
_COUNTS = """
SELECT count(*), count(DISTINCT action), total(differs = 1), total(differs = 2) FROM (
SELECT action, differs FROM observation WHERE differs = 0 AND at >= :since UNION ALL
SELECT action, differs FROM observation WHERE differs > 0 AND at >= :since)
WHERE :instance IS NULL OR action IN (
SELECT id FROM action WHERE instance = (SELECT id FROM text WHERE value = :instance))
"""
_AUDITED = """
SELECT count(DISTINCT action) FROM audit WHERE at >= :since AND (:instance IS NULL OR action IN (
SELECT id FROM action WHERE instance = (SELECT id FROM text WHERE value = :instance)))
"""
_OF_INVOCATION = """
SELECT DISTINCT action FROM observation WHERE invocation = (SELECT id FROM text WHERE value = ?)
"""
_OF_TARGET = "SELECT id FROM action WHERE target IN (SELECT id FROM text WHERE value GLOB ?)"
_CHOSEN = """
SELECT instance.value, action.digest FROM action JOIN text AS instance
ON instance.id = action.instance
WHERE action.id IN ({chosen}) AND (? IS NULL OR instance.value = ?)
ORDER BY action.used DESC, action.id LIMIT ?
"""


class Action(NamedTuple):
    """A row of the table `action`, with its texts."""

    key: ActionKey
    program: str
    target: str
    mnemonic: str
    seconds: float


def action_of(read: sqlite3.Connection, number: int) -> Action:
    """Return the action with this id, which is there."""
    instance, digest, *rest = read.execute(ACTION, (number,)).fetchone()
    return Action(ActionKey(instance, unpacked(digest)), *rest)


def groups(
    read: sqlite3.Connection, instance: str | None, since: float, grouping: Grouping, limit: int
) -> list[Group]:
    """See Reading.groups."""
    name, joined = _NAMES[grouping]
    read.execute(_NAMED.format(name=name, joined=joined), {"since": since, "instance": instance})
    read.execute("CREATE INDEX temp.named_name ON named (name)")
    rows = read.execute(_GROUPS, (limit,)).fetchall()
    return [_group(read, grouping, row) for row in rows]


def _group(read: sqlite3.Connection, grouping: Grouping, row: tuple[Any, ...]) -> Group:
    name, actions, conflicts, latent, saved_actions, saved_seconds, streams_only = row
    (first,) = read.execute(_FIRST, (name,)).fetchone()
    action = action_of(read, first)
    return Group(
        name=_title(read, grouping, name, action),
        key=action.key,
        program=action.program,
        target=action.target,
        mnemonic=action.mnemonic,
        causes=tuple(cause for (cause,) in read.execute(_GROUP_CAUSES, (name,))),
        actions=actions,
        conflicts=int(conflicts),
        latent=int(latent),
        saved_actions=int(saved_actions),
        saved_seconds=saved_seconds,
        streams_only=bool(streams_only),
    )


def _title(read: sqlite3.Connection, grouping: Grouping, name: int, action: Action) -> str:
    match grouping:
        case Grouping.ACTION:
            return str(action.key.action)
        case Grouping.CAUSE if name == 0:
            return Cause.UNKNOWN.value
        case _:
            (title,) = read.execute("SELECT value FROM text WHERE id = ?", (name,)).fetchone()
            return str(title)


def counts(read: sqlite3.Connection, instance: str | None, since: float) -> Counts:
    """See Reading.counts."""
    named = {"since": since, "instance": instance}
    observations, actions, conflicts, latent = read.execute(_COUNTS, named).fetchone()
    (audited,) = read.execute(_AUDITED, named).fetchone()
    return Counts(observations, actions, int(conflicts), int(latent), audited)


def actions_of(
    read: sqlite3.Connection, instance: str | None, invocation: str, target: str
) -> list[ActionKey]:
    """See Reading.actions_of."""
    chosen, sought = (_OF_INVOCATION, invocation) if invocation else (_OF_TARGET, target)
    rows = read.execute(_CHOSEN.format(chosen=chosen), (sought, instance, instance, MAX_ACTIONS))
    return [ActionKey(name, unpacked(digest)) for name, digest in rows]


def generated(read: sqlite3.Connection, digests: Iterable[Digest]) -> set[Digest]:
    """See Reading.generated."""
    made = "SELECT 1 FROM made WHERE link = ? LIMIT 1"
    return {each for each in digests if read.execute(made, (link_of(each.hash),)).fetchone()}
