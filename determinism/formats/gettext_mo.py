"""gettext's compiled catalogues, .mo: the dates in their header."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from determinism.format import Conditions, Data, Declined, Edit, Format
from determinism.gettext_dates import header_edits

MAGIC = 0x950412DE
FIXED_BYTES = 28
ENTRY_BYTES = 8
ORDERS = {MAGIC.to_bytes(4, "little"): "<", MAGIC.to_bytes(4, "big"): ">"}
MAX_HEADER_BYTES = 64 << 10


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return head[:4] in ORDERS


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Set the dates in the translation of the empty message, which is the first one."""
    order = ORDERS.get(data[:4])
    if order is None or len(data) < FIXED_BYTES:
        raise Declined("it is no compiled catalogue")
    revision, count, originals, translations = struct.unpack_from(order + "4I", data, 4)
    if revision >> 16 > 1 or revision & 0xFFFF > 1:
        raise Declined("it is of an unknown revision")
    if not count:
        return []
    strings = [
        *_strings(data, order, originals, count),
        *_strings(data, order, translations, count),
    ]
    first, header = strings[0], strings.pop(count)
    if first[0] or header[0] > MAX_HEADER_BYTES:
        return []  # its first message is not the empty one: it has no header
    if any(start < sum(header) and header[1] < start + size for size, start in strings):
        raise Declined("its strings overlap")
    return header_edits(data[header[1] : sum(header)], header[1], conditions)


def _strings(data: Data, order: str, at: int, count: int) -> list[tuple[int, int]]:
    """Return length and place of each string. Raises Declined if one is not within the file.

    A NUL, which is not counted, ends each.
    """
    end = at + count * ENTRY_BYTES
    if end > len(data):
        raise Declined("a table of it is cut short")
    strings = [(size, start) for size, start in struct.iter_unpack(order + "II", data[at:end])]
    if any(size + start >= len(data) or data[size + start] for size, start in strings):
        raise Declined("a string of it does not end within it")
    return strings


FORMAT = Format(
    name="gettext mo",
    version=1,
    harmless=False,
    rewrites="POT-Creation-Date and PO-Revision-Date in the header, with the start of 1970",
    standard="GNU gettext, section The Format of GNU MO Files",
    preserves="the dates are no translation; programs read the header for charset and plurals",
    declines="times that the action did not write; a table or string that is not within the file",
    matches=matches,
    edits=edits,
)
