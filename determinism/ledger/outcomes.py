"""The outcomes of an action: each distinct one is kept once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from determinism.ledger.cascade import Content
from determinism.ledger.names import Output, links_of, output_of, packed, unpacked
from determinism.observation import Observation
from determinism.outcome import Outcome

MAX_LINKS = 100_000  # of the files that one result is known to hold
HASH_BYTES = 16


def outcome_id(connection: sqlite3.Connection, action: int, seen: Observation) -> int:
    """Return the id of what was observed, after keeping it if it is new."""
    hash = _hash(seen.outcome)
    found = connection.execute(
        "SELECT id FROM outcome WHERE action = ? AND hash = ?", (action, hash)
    ).fetchone()
    return int(found[0]) if found else _kept(connection, action, hash, seen)


def content_of(seen: Observation) -> Content:
    """Return what of an observation is compared."""
    return Content(seen.outcome, frozenset(_made(seen, _outputs(seen).values())))


def load_content(connection: sqlite3.Connection, outcome: int) -> Content:
    """Return an outcome that is kept."""
    (streams,) = connection.execute(
        "SELECT streams FROM outcome WHERE id = ?", (outcome,)
    ).fetchone()
    outputs = {
        path: str(Output(kind, None if digest is None else unpacked(digest), other))
        for path, kind, digest, other in connection.execute(
            "SELECT path, kind, digest, other FROM output WHERE outcome = ?", (outcome,)
        )
    }
    made = connection.execute("SELECT link FROM made WHERE outcome = ?", (outcome,))
    return Content(
        Outcome(outputs, msgspec.json.decode(streams)), frozenset(link for (link,) in made)
    )


def _hash(outcome: Outcome) -> bytes:
    text = msgspec.json.encode((outcome.outputs, outcome.streams), order="sorted")
    return blake2b(text, digest_size=HASH_BYTES).digest()


def _kept(connection: sqlite3.Connection, action: int, hash: bytes, seen: Observation) -> int:
    streams = msgspec.json.encode(seen.outcome.streams, order="sorted").decode()
    number = connection.execute(
        "INSERT INTO outcome (action, hash, streams) VALUES (?, ?, ?)", (action, hash, streams)
    ).lastrowid
    assert number is not None
    outputs = _outputs(seen)
    connection.executemany(
        "INSERT INTO output VALUES (?, ?, ?, ?, ?)",
        [
            (number, path, output.kind, output.digest and packed(output.digest), output.text)
            for path, output in outputs.items()
        ],
    )
    connection.executemany(
        "INSERT INTO made VALUES (?, ?)",
        [(number, link) for link in _made(seen, outputs.values())],
    )
    return number


def _outputs(seen: Observation) -> dict[str, Output]:
    function = seen.key.action.function
    return {path: output_of(said, function) for path, said in seen.outcome.outputs.items()}


def _made(seen: Observation, outputs: Iterable[Output]) -> list[int]:
    """Return the links of what a result holds, without its streams."""
    named = (output.digest for output in outputs if output.kind != "tree")
    links = links_of(digest for digest in named if digest is not None)
    if seen.references:
        function = seen.key.action.function
        streams = {output_of(said, function).digest for said in seen.outcome.streams.values()}
        links |= links_of(seen.references - streams)
    return sorted(links)[:MAX_LINKS]
