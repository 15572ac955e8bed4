"""gettext's templates and catalogues, .pot and .po: when they were made."""

from __future__ import annotations

import re
from collections.abc import Sequence

from determinism.format import Conditions, Data, Declined, Edit, Format
from determinism.gettext_dates import header_edits

HEADER_BYTES = 64 << 10  # comments and the header stand at the top
START = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:#|msgid)")
HEADER = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[ \t]*(?:#[^\n]*)?\r?\n)*"
    rb'msgid[ \t]+""[ \t]*\r?\nmsgstr[ \t]+""[ \t]*\r?\n((?:"[^\n]*"[ \t]*(?:\r?\n|$))+)'
)


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return b'msgid ""' in head or (name.endswith((".po", ".pot")) and bool(START.match(head)))


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    match = HEADER.match(data[:HEADER_BYTES])
    if not match:
        raise Declined("it does not begin with a header")
    return header_edits(match[1], match.start(1), conditions)


FORMAT = Format(
    name="gettext po",
    version=1,
    harmless=False,
    rewrites="POT-Creation-Date and PO-Revision-Date in the header, with the start of 1970",
    standard="GNU gettext, section Filling in the Header Entry",
    preserves="translators read the dates; msgfmt and msgmerge compare none",
    declines="times that the action did not write; files that do not begin with a header",
    matches=matches,
    edits=edits,
)
