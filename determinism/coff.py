"""COFF: the table of sections that images and object files share.

Source: Microsoft, PE Format, sections "COFF File Header" and "Section Table".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from determinism.format import Data, Declined, Edit

MACHINES = {0x014C, 0x8664, 0xAA64, 0x01C4}  # x86, x64, Arm64, Arm
STAMP_BYTES = 4
HEADER = struct.Struct("<HHIIIHH")
SECTION = struct.Struct("<8sIIIIIIHHI")
STRINGS_SIZE_BYTES = 4


class Header(NamedTuple):
    """The COFF file header. stamp: seconds since 1970, or what else a linker puts there."""

    machine: int
    sections: int
    stamp: int
    symbols_at: int
    symbols: int
    optional_bytes: int
    flags: int


class Section(NamedTuple):
    """One section. start, end: the bytes that it has in the file, none if it has no contents."""

    name: bytes
    virtual_bytes: int
    address: int
    start: int
    end: int
    relocations_at: int
    lines_at: int
    relocations: int
    lines: int
    flags: int


def header_of(data: Data, at: int) -> Header:
    """Read a COFF file header. Raises Declined if there is none of a known machine at `at`."""
    if at + HEADER.size > len(data):
        raise Declined("its header is cut short")
    header = Header(*HEADER.unpack_from(data, at))
    if header.machine not in MACHINES:
        raise Declined("it is for no known machine")
    return header


def sections_of(data: Data, at: int, count: int) -> Sequence[Section]:
    """Read the section table. Raises Declined if contents do not lie within the file."""
    end = at + count * SECTION.size
    if end > len(data):
        raise Declined("its section table is cut short")
    found = []
    for name, memory, address, size, start, *rest in SECTION.iter_unpack(data[at:end]):
        within = (start, start + size) if start else (0, 0)
        found.append(Section(name, memory, address, *within, *rest))
    if any(section.end > len(data) for section in found):
        raise Declined("a section of it lies beyond its end")
    return found


def symbols_end(data: Data, at: int, count: int, entry_bytes: int) -> int:
    """Return where the strings behind the symbols end. Raises Declined if that is beyond it."""
    strings = at + count * entry_bytes
    if strings + STRINGS_SIZE_BYTES > len(data):
        raise Declined("its symbols are cut short")
    size = int.from_bytes(data[strings : strings + STRINGS_SIZE_BYTES], "little")
    end = strings + max(size, STRINGS_SIZE_BYTES)
    if end > len(data):
        raise Declined("its strings are cut short")
    return end


def zeroed(at: int) -> Edit:
    """Return the edit that makes the stamp at `at` zero, which says that there is none."""
    return Edit(at, at + STAMP_BYTES, bytes(STAMP_BYTES))
