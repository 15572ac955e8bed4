"""COFF object files, and the short ones of import libraries: when they were compiled."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import NamedTuple

from determinism.coff import MACHINES, Section, header_of, sections_of, symbols_end, zeroed
from determinism.format import Conditions, Data, Declined, Edit, Format

HEADER_BYTES = 20
STAMP_AT = 4
SYMBOL = struct.Struct("<12xh3xB")  # section number, how many auxiliary records follow
RELOCATION_BYTES, LINE_BYTES = 10, 6
MANY_RELOCATIONS = 0x01000000  # the first relocation has their number
NAME = re.compile(rb"[\x21-\x7e]{1,8}\0*")
FLAGS = 0x0001 | 0x0004 | 0x0008 | 0x0100  # stripped of relocations, lines, symbols; of 32 bits

UNKNOWN = b"\0\0\xff\xff"  # what objects of other layouts start with
LARGE_CLASS = bytes.fromhex("c7a1bad1eebaa94baf20faf66aa4dcb8")
LARGE_HEADER = struct.Struct("<4xHHI16s16xIII")
LARGE_SYMBOL = struct.Struct("<12xi3xB")
OTHER_STAMP_AT = 8
IMPORT_HEADER = struct.Struct("<4xHHII4x")


class _Tables(NamedTuple):
    """Where the section table and the symbols are, how many they are, and a symbol's layout."""

    sections_at: int
    sections: int
    symbols_at: int
    symbols: int
    symbol: struct.Struct


def matches(head: bytes, tail: bytes, name: str) -> bool:
    """There is no magic number: a machine, no optional header, and a name of a section."""
    if head[:4] == UNKNOWN:
        return int.from_bytes(head[6:8], "little") in MACHINES
    return (
        int.from_bytes(head[:2], "little") in MACHINES
        and head[16:18] == b"\0\0"
        and NAME.fullmatch(head[HEADER_BYTES : HEADER_BYTES + 8]) is not None
    )


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Zero the stamp of the header, if it is a time of the action."""
    if data[:4] == UNKNOWN:
        at = OTHER_STAMP_AT
        _check_other(data)
    else:
        at = STAMP_AT
        _check_object(data)
    stamp = int.from_bytes(data[at : at + 4], "little")
    return [zeroed(at)] if stamp and conditions.written(stamp) else []


def _check_object(data: Data) -> None:
    header = header_of(data, 0)
    if header.optional_bytes or header.flags & ~FLAGS:
        raise Declined("it is no object file")
    _check_tables(
        data, _Tables(HEADER_BYTES, header.sections, header.symbols_at, header.symbols, SYMBOL)
    )


def _check_other(data: Data) -> None:
    """Check an object with more sections than others can have, or one of an import library."""
    if len(data) < HEADER_BYTES:
        raise Declined("its header is cut short")
    version, machine, _, size = IMPORT_HEADER.unpack_from(data)
    if machine not in MACHINES:
        raise Declined("it is for no known machine")
    if version == 0:
        names = data[HEADER_BYTES:]
        if len(names) != size or names.count(b"\0") not in {2, 3} or names[-1:] != b"\0":
            raise Declined("it is no object of an import library")
        return
    if len(data) < LARGE_HEADER.size:
        raise Declined("its header is cut short")
    _, _, _, kind, sections, symbols_at, symbols = LARGE_HEADER.unpack_from(data)
    if kind != LARGE_CLASS:
        raise Declined("it is of no known layout")
    _check_tables(data, _Tables(LARGE_HEADER.size, sections, symbols_at, symbols, LARGE_SYMBOL))


def _check_tables(data: Data, tables: _Tables) -> None:
    """Raise Declined unless sections, relocations, symbols and strings are what they should be.

    The strings must end the file.
    """
    sections = sections_of(data, tables.sections_at, tables.sections)
    if not sections or not tables.symbols_at:
        raise Declined("it has no sections or no symbols")
    if not all(NAME.fullmatch(section.name) for section in sections):
        raise Declined("its sections have no names")
    if max(_end(data, section) for section in sections) > len(data):
        raise Declined("relocations of it lie beyond its end")
    if symbols_end(data, tables.symbols_at, tables.symbols, tables.symbol.size) != len(data):
        raise Declined("something follows its strings")
    _check_symbols(data, tables)


def _check_symbols(data: Data, tables: _Tables) -> None:
    """Raise Declined unless each symbol is in a section, or of a special kind (-2 to 0)."""
    end = tables.symbols_at + tables.symbols * tables.symbol.size
    auxiliary = 0
    for number, following in tables.symbol.iter_unpack(data[tables.symbols_at : end]):
        if auxiliary:
            auxiliary -= 1
        elif number not in range(-2, tables.sections + 1):
            raise Declined("a symbol of it is in no section")
        else:
            auxiliary = following
    if auxiliary:
        raise Declined("its symbols are cut short")


def _end(data: Data, section: Section) -> int:
    """Return where the last of a section's parts ends."""
    count = section.relocations
    if section.flags & MANY_RELOCATIONS and count == 0xFFFF:  # noqa: PLR2004 - the field is full
        first = data[section.relocations_at : section.relocations_at + 4]
        count = int.from_bytes(first, "little")
    return max(
        section.end,
        section.relocations_at + count * RELOCATION_BYTES,
        section.lines_at + section.lines * LINE_BYTES,
    )


FORMAT = Format(
    name="coff object",
    version=1,
    harmless=False,
    rewrites="TimeDateStamp of the header, with 0",
    standard="Microsoft, PE Format, sections COFF File Header and Import Library Format",
    preserves="linkers do not go by it, but for link.exe /INCREMENTAL, which then links wholly",
    declines="stamps that are no times of the action; whatever does not wholly parse, since the"
    " format has no magic number; link-time code generation",
    matches=matches,
    edits=edits,
)
