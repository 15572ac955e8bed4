"""The dates in the header of gettext's catalogues."""

from __future__ import annotations

import re

from determinism.dates import offset_minutes, seconds_of, wrote
from determinism.format import Conditions, Edit

FIELD = re.compile(
    rb"(?:POT-Creation-Date|PO-Revision-Date): ?"
    rb"((\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d)([+-]\d{4}))(?=\\n|\n)"
)
FIRST = b"1970-01-01 00:00+0000"
MINUTE_SECONDS = 60


def header_edits(header: bytes, at: int, conditions: Conditions) -> list[Edit]:
    """Return the edits that set those dates that the action wrote to the start of 1970.

    header: the translation of the empty message, as a catalogue has it. at: where that begins.
    """
    return [
        Edit(at + match.start(1), at + match.end(1), FIRST)
        for match in FIELD.finditer(header)
        if wrote(
            conditions,
            seconds_of(match.groups()[1:6]),
            offset_minutes(match[7]),
            grain_seconds=MINUTE_SECONDS,
        )
    ]
