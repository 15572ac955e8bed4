"""Writes down what was seen: results, audits, inputs and hits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from action_cache.mode import Mode
from action_cache.results import ActionKey
from cas.digest import Digest
from determinism.ledger import cascade
from determinism.ledger.book import Book
from determinism.ledger.names import links_of, output_of, packed
from determinism.ledger.outcomes import content_of, load_content, outcome_id
from determinism.ledger.schema import EMPTY
from determinism.ledger.totals import Kind
from determinism.observation import Observation, Source
from determinism.policy import Verdict

HOUR = 3600  # grain of when an action was used, executed and audited
MAX_CONSUMED = 100_000  # files that one action is known to consume
STREAMS = frozenset({"stdout", "stderr"})
AGREES, ACTUAL, LATENT = 0, 1, 2  # what observation.differs may be
_DIFFERING = {Verdict.CONFLICT, Verdict.SUPERSEDED}
_ENDS_CREDITS = _DIFFERING | {Verdict.REPLACED}
_PINNED = {Verdict.FIRST, Verdict.AGREED, Verdict.SUPERSEDED, Verdict.REPLACED}

_ACTION = """
SELECT id, pin, program, target, mnemonic, input_root, seconds, used, executed FROM action
WHERE digest = ? AND instance = ?
"""
_NEW_ACTION = """
INSERT INTO action (program, target, mnemonic, input_root, seconds, used, executed, digest,
instance) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_CHANGED_ACTION = """
UPDATE action SET program = ?, target = ?, mnemonic = ?, input_root = ?, seconds = ?, used = ?,
executed = ? WHERE id = ?
"""
_OBSERVATION = """
INSERT INTO observation VALUES (
?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)
"""
_FIND = "SELECT id, seconds, used FROM action WHERE digest = ? AND instance = ?"
_CONSUME = """
INSERT OR IGNORE INTO consumed SELECT :action, :link
WHERE EXISTS (SELECT 1 FROM made WHERE link = :link)
"""
_TOUCH = """
UPDATE text SET used = max(used, :until) WHERE id <> 1 AND id IN (
SELECT program FROM action WHERE id = :action UNION SELECT target FROM action WHERE id = :action
UNION SELECT mnemonic FROM action WHERE id = :action)
"""
_AUDITED = "UPDATE action SET audited = max(audited, ?) WHERE id = ?"


class _Found(NamedTuple):
    """seconds: how long the action runs. used: when it was, in seconds since 1970."""

    id: int
    seconds: float
    used: int


class _About(NamedTuple):
    """What is kept of an action: columns of `action`."""

    program: int
    target: int
    mnemonic: int
    input_root: bytes | None
    seconds: float
    used: int
    executed: int

    def and_then(self, later: _About) -> _About:
        """Return what is known when `later` has come to it."""
        return _About(
            self.program if later.program == EMPTY else later.program,
            self.target if later.target == EMPTY else later.target,
            self.mnemonic if later.mnemonic == EMPTY else later.mnemonic,
            later.input_root or self.input_root,
            later.seconds or self.seconds,
            max(self.used, later.used),
            max(self.executed, later.executed),
        )


def observe(book: Book, number: int, seen: Observation) -> None:
    """Write down a result. number: its id."""
    connection = book.connection
    action, pin = _action(book, seen)
    outcome = outcome_id(connection, action, seen)
    differs = ACTUAL if seen.verdict in _DIFFERING else AGREES
    links: set[int] = set()
    streams_only = False
    if differs and pin is not None:
        before, after = load_content(connection, pin), content_of(seen)
        links = cascade.diverged(before, after, seen.key.action.function)
        places = {each.where for each in before.outcome.differences(after.outcome)}
        streams_only = bool(places) and places <= STREAMS
    row = _row(book, seen)
    connection.execute(
        _OBSERVATION, (number, action, outcome, seen.at, differs, streams_only, *row)
    )
    _rewritten(book, number, seen)
    if seen.verdict in _ENDS_CREDITS:
        cascade.close_credits(connection, action, seen.at)
    if seen.verdict is Verdict.CONFLICT and seen.mode is Mode.PIN:
        cascade.open_credits(connection, action, number, seen.at, links)
    if seen.verdict in _PINNED and outcome != pin:
        connection.execute("UPDATE action SET pin = ? WHERE id = ?", (outcome, action))
    verdict = seen.verdict.value if seen.verdict else ""
    book.counters.add(Kind.OBSERVATIONS, seen.source.value, verdict)


def consume(book: Book, key: ActionKey, digests: Iterable[Digest], at: float) -> None:
    """Write down which of `digests`, the inputs of an action, other actions are known to make."""
    links = sorted(links_of(digests))[:MAX_CONSUMED]
    action = _find(book, key, at)
    if action is not None:
        book.connection.executemany(
            _CONSUME, [{"action": action.id, "link": link} for link in links]
        )


def audit(book: Book, key: ActionKey, *, differs: bool, runs: int, at: float) -> None:
    """Write down that an audit of an action has ended."""
    action = _find(book, key, at)
    if action is not None:
        book.connection.execute(
            "INSERT INTO audit VALUES (NULL, ?, ?, ?, ?)", (action.id, at, differs, runs)
        )
        book.connection.execute(_AUDITED, (int(at), action.id))


def hit(book: Book, key: ActionKey, at: float) -> None:
    """Write down that the action was answered from the cache."""
    action = _find(book, key, at)
    if action is None:
        return
    if action.used + HOUR < at:
        book.connection.execute("UPDATE action SET used = ? WHERE id = ?", (int(at), action.id))
        book.connection.execute(_TOUCH, {"until": int(at), "action": action.id})
    if cascade.redeem(book.connection, action.id, action.seconds, at):
        book.counters.add(Kind.SAVED_ACTIONS)
        book.counters.add(Kind.SAVED_SECONDS, value=action.seconds)


def _find(book: Book, key: ActionKey, at: float) -> _Found | None:
    instance = book.texts.id_of(key.instance, at)
    found = book.connection.execute(_FIND, (packed(key.action), instance)).fetchone()
    return _Found(*found) if found else None


def _action(book: Book, seen: Observation) -> tuple[int, int | None]:
    """Return the ids of the action and of the outcome that it is pinned to."""
    said = _about(book, seen)
    name = packed(seen.key.action), book.texts.id_of(seen.key.instance, seen.at)
    found = book.connection.execute(_ACTION, name).fetchone()
    if found is None:
        added = book.connection.execute(_NEW_ACTION, (*said, *name)).lastrowid
        assert added is not None
        return added, None
    action, pin, *rest = found
    before = _About(*rest)
    after = before.and_then(said)
    if after != before:
        book.connection.execute(_CHANGED_ACTION, (*after, action))
    if after[:3] != said[:3]:  # texts of an earlier observation are needed as long as this one
        book.connection.execute(_TOUCH, {"until": int(seen.at), "action": action})
    return action, pin


def _about(book: Book, seen: Observation) -> _About:
    text = book.texts.id_of
    hour = int(seen.at) // HOUR * HOUR
    varied = seen.source is Source.AUDIT  # such runs may wait, or have fewer processors
    return _About(
        text(seen.program, seen.at),
        text(seen.target, seen.at),
        text(seen.mnemonic, seen.at),
        packed(seen.input_root) if seen.input_root else None,
        0.0 if varied else seen.seconds,
        hour,
        hour if seen.source is Source.SERVICE else 0,
    )


def _row(book: Book, seen: Observation) -> tuple[int | float, ...]:
    """Return what stands in an observation's row behind `streams_only`."""
    texts = (
        seen.source.value,
        seen.verdict.value if seen.verdict else "",
        seen.mode.value,
        seen.worker,
        seen.toolchain,
        json.dumps(seen.switches) if seen.switches else "",
        seen.rules,
        seen.program,
        seen.version,
        seen.mnemonic,
        seen.target,
        seen.invocation,
        seen.tool,
        seen.root,
    )
    ids = [book.texts.id_of(each, seen.at) for each in texts]
    return (*ids, seen.seconds, seen.exit_code, seen.begun, seen.ended)


def _rewritten(book: Book, number: int, seen: Observation) -> None:
    function = seen.key.action.function
    for path, formats in seen.formats.items():
        before = output_of(seen.before.get(path, ""), function).digest
        changed = seen.replaced.get(path, 0)
        said = book.texts.id_of(json.dumps(formats), seen.at)
        book.connection.execute(
            "INSERT INTO rewritten VALUES (?, ?, ?, ?, ?)",
            (number, path, before and packed(before), said, changed),
        )
        for format in formats:
            book.counters.add(Kind.REWRITTEN_FILES, format)
            book.counters.add(Kind.REWRITTEN_BYTES, format, value=changed)
