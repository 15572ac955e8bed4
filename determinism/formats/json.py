"""JSON: where the input root is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from determinism.format import Conditions, Data, Declined, Edit, Format
from determinism.text_paths import root_edits

OPENING, CLOSING = (b"{", b"["), (b"}", b"]")
LINES = msgspec.json.Decoder(msgspec.Raw)


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return head.lstrip().startswith(OPENING) and tail.rstrip().endswith(CLOSING)


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Replace the root of an action without a sandbox, within JSON or JSON lines."""
    found = root_edits(data, conditions)
    if found:
        _check_json(data)
    return found


def _check_json(data: Data) -> None:
    """Raise Declined unless this is JSON. A path can then stand in a string only."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError:
        try:
            LINES.decode_lines(data[:])
        except msgspec.DecodeError as error:
            raise Declined(f"it is no JSON: {error}") from None


FORMAT = Format(
    name="json",
    version=1,
    harmless=False,
    rewrites="the input root of an action without a sandbox, with the one that it has in a sandbox",
    standard="RFC 8259",
    preserves="the path names nothing once the action has ended, wherever it ran",
    declines="a root that stands in an input; what is not wholly JSON or JSON lines; files of over"
    " 64 MiB",
    matches=matches,
    edits=edits,
)
