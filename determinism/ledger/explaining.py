"""All that the ledger knows of one action."""

from __future__ import annotations

import json
import sqlite3

from action_cache.results import ActionKey
from determinism.difference import Attributed, Cause
from determinism.ledger.cascade import reach
from determinism.ledger.names import packed
from determinism.ledger.queries import Action, action_of
from determinism.ledger.rows import Consumer, Differing, Explained, Group, Observed

MAX_OBSERVATIONS = 200
MAX_DIFFERENCES = 500
MAX_CONSUMERS = 500

_FIND = """
SELECT action.id FROM action JOIN text ON text.id = action.instance
WHERE digest = ? AND text.value = ?
"""
_TEXTS = (
    "source", "verdict", "worker", "toolchain", "rules", "switches", "program", "version",
    "target", "mnemonic", "invocation", "tool", "root",
)  # fmt: skip
_VALUES = ", ".join(f"{each}.value" for each in _TEXTS)
_JOINS = " ".join(f"JOIN text AS {each} ON {each}.id = observation.{each}" for each in _TEXTS)
_OBSERVED = (
    f"SELECT observation.id, at, {_VALUES}, seconds, exit_code FROM observation {_JOINS} "  # noqa: S608 - constants
    "WHERE action = ? ORDER BY at DESC, observation.id DESC LIMIT ?"
)
_DIFFERENCES = """
SELECT observation, latent, place, first, later, format.value, part, ranges, first_text,
later_text, cause.value, evidence FROM difference
JOIN observation ON observation.id = difference.observation
JOIN text AS format ON format.id = difference.format
JOIN text AS cause ON cause.id = difference.cause
WHERE action = ? ORDER BY at DESC, observation DESC, difference.id LIMIT ?
"""
_SUMMARY = """
SELECT total(differs = 1), total(differs = 2), total(saved_actions), total(saved_seconds),
min(streams_only) FILTER (WHERE differs > 0) FROM observation WHERE action = ?
"""
_DIVERGED = """
SELECT DISTINCT link FROM diverged JOIN observation ON observation.id = diverged.observation
WHERE action = ?
"""
_MADE = "SELECT DISTINCT link FROM made JOIN outcome ON outcome.id = made.outcome WHERE action = ?"
_CONSUMERS = """
SELECT action, reached.distance, coalesce(saved, 0) AS saved FROM reached
LEFT JOIN credit ON credit.consumer = reached.action AND credit.origin = ?
ORDER BY saved DESC, reached.distance, action LIMIT ?
"""
_AUDITS = "SELECT count(*), coalesce(sum(runs), 0) FROM audit WHERE action = ?"


def explain(read: sqlite3.Connection, key: ActionKey) -> Explained | None:
    """See determinism.ledger.reading.Reading.explain."""
    found = read.execute(_FIND, (packed(key.action), key.instance)).fetchone()
    if found is None:
        return None
    (number,) = found
    differences = _differences(read, number)
    audits, runs = read.execute(_AUDITS, (number,)).fetchone()
    return Explained(
        summary=_summary(read, number, action_of(read, number), differences),
        observations=_observations(read, number),
        differences=differences,
        consumers=_consumers(read, number),
        audits=audits,
        audit_runs=runs,
    )


def _summary(
    read: sqlite3.Connection, number: int, action: Action, differences: list[Differing]
) -> Group:
    row = read.execute(_SUMMARY, (number,)).fetchone()
    conflicts, latent, saved_actions, saved_seconds, streams_only = row
    return Group(
        name=str(action.key.action),
        key=action.key,
        program=action.program,
        target=action.target,
        mnemonic=action.mnemonic,
        causes=tuple(sorted({each.attributed.cause.value for each in differences})),
        actions=int(conflicts + latent > 0),
        conflicts=int(conflicts),
        latent=int(latent),
        saved_actions=int(saved_actions),
        saved_seconds=saved_seconds,
        streams_only=bool(streams_only),
    )


def _observations(read: sqlite3.Connection, number: int) -> list[Observed]:
    found = []
    for id, at, *texts, seconds, exit_code in read.execute(_OBSERVED, (number, MAX_OBSERVATIONS)):
        said = dict(zip(_TEXTS, texts, strict=True))
        switches = tuple(json.loads(said.pop("switches") or "[]"))
        found.append(
            Observed(
                number=id, at=at, seconds=seconds, exit_code=exit_code, switches=switches, **said
            )
        )
    return found


def _differences(read: sqlite3.Connection, number: int) -> list[Differing]:
    return [
        Differing(
            observation,
            bool(latent),
            Attributed(
                where=place,
                first=first,
                then=later,
                format=format,
                part=part,
                ranges=tuple((start, end) for start, end in json.loads(ranges)),
                first_text=first_text,
                then_text=later_text,
                cause=Cause(cause),
                evidence=evidence,
            ),
        )
        for (
            observation, latent, place, first, later, format, part, ranges, first_text, later_text,
            cause, evidence,
        ) in read.execute(_DIFFERENCES, (number, MAX_DIFFERENCES))
    ]  # fmt: skip


def _consumers(read: sqlite3.Connection, number: int) -> list[Consumer]:
    links = [link for (link,) in read.execute(_DIVERGED, (number,))]
    reach(read, links or [link for (link,) in read.execute(_MADE, (number,))], number)
    return [
        Consumer(
            key=action.key,
            target=action.target,
            mnemonic=action.mnemonic,
            distance=distance,
            seconds=action.seconds,
            saved=saved,
        )
        for action, distance, saved in (
            (action_of(read, consumer), distance, saved)
            for consumer, distance, saved in read.execute(
                _CONSUMERS, (number, MAX_CONSUMERS)
            ).fetchall()
        )
    ]
