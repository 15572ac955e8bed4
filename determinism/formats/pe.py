"""PE images of Windows and UEFI: when they were linked."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from determinism.coff import Section, header_of, sections_of, symbols_end, zeroed
from determinism.format import Conditions, Data, Declined, Edit, Format

MAGIC = b"MZ"
PLACE_AT = 0x3C  # of the offset of the PE header
SIGNATURE = b"PE\0\0"
STAMP_AT = 4  # in the COFF header, and in each table that has a stamp
SYMBOL_BYTES = 18
CHECKSUM_AT = 64
WIDE = 0x20B
NARROW = 0x10B
DIRECTORIES_AT = {NARROW: 96, WIDE: 112}
EXPORT, IMPORT, RESOURCE, SECURITY, DEBUG, LOAD, BOUND, DELAYED, CLR = 0, 1, 2, 4, 6, 10, 11, 13, 14
LEFT = {
    SECURITY: "it is signed (Authenticode)",
    BOUND: "its imports are bound",
    CLR: "it is an assembly, which may be signed",
}

DEBUG_BYTES = 28
HARMLESS_DEBUG = {12, 13, 14, 20}  # features, profile, link-time code generation, DLL flags
IMPORT_BYTES, DELAYED_BYTES, DELAYED_STAMP_AT = 20, 32, 28
MAX_IMPORTS = 1 << 16
MAX_RESOURCES = 1 << 20  # entries of all tables
SUBTABLE = 0x80000000
MAX_PADDING_BYTES = 1 << 16  # zeros behind the last section: the largest file alignment
SUMMED_BYTES = 1 << 16  # of the file, copied to be summed at a time


class _Image(NamedTuple):
    """coff_at, optional_at: where the headers are. directories: address and size of each."""

    data: Data
    coff_at: int
    optional_at: int
    sections: Sequence[Section]
    directories: Sequence[tuple[int, int]]

    def place(self, address: int, size: int) -> int:
        """Return where in the file `size` bytes are that are loaded at `address`."""
        for section in self.sections:
            start = section.start + address - section.address
            if address >= section.address and start + size <= section.end:
                return start
        raise Declined("a table of it is in no section")

    def number(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 4], "little")


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return head.startswith(MAGIC)


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Zero the stamps that are times of the action, and correct the checksum if there is one."""
    image = _parsed(data)
    found = [
        zeroed(at)
        for at in sorted(set(_stamps(image)))
        if image.number(at) and conditions.written(image.number(at))
    ]
    checksum_at = image.optional_at + CHECKSUM_AT
    if found and image.number(checksum_at):
        found = sorted([*found, _checksum(data, found, checksum_at)])
    if any(one.end > other.start for one, other in pairwise(found)):
        raise Declined("its stamps overlap")
    return found


def _parsed(data: Data) -> _Image:
    """Read the headers. Raises Declined if a part is not within the file, or it is signed."""
    place = int.from_bytes(data[PLACE_AT : PLACE_AT + 4], "little")
    if data[:2] != MAGIC or data[place : place + 4] != SIGNATURE:
        raise Declined("it is no PE image")
    header = header_of(data, place + 4)
    optional = place + 24
    magic = int.from_bytes(data[optional : optional + 2], "little")
    start = DIRECTORIES_AT.get(magic, 0)
    if not start or header.optional_bytes < start or optional + header.optional_bytes > len(data):
        raise Declined("its optional header is cut short")
    count = int.from_bytes(data[optional + start - 4 : optional + start], "little")
    if start + count * 8 > header.optional_bytes:
        raise Declined("its directories are cut short")
    table = data[optional + start : optional + start + count * 8]
    sections = sections_of(data, optional + header.optional_bytes, header.sections)
    ends = [optional + header.optional_bytes, *(section.end for section in sections)]
    if header.symbols_at:
        ends.append(symbols_end(data, header.symbols_at, header.symbols, SYMBOL_BYTES))
    _check_end(data, max(ends))
    return _Image(data, place + 4, optional, sections, list(struct.iter_unpack("<II", table)))


def _check_end(data: Data, end: int) -> None:
    """Raise Declined if more than padding follows: installers check themselves as a whole."""
    if len(data) - end > MAX_PADDING_BYTES or any(data[end:]):
        raise Declined("something follows its last section")


def _stamps(image: _Image) -> Iterator[int]:
    """Yield where the stamps are. Raises Declined if something else is made for these bytes."""
    yield image.coff_at + STAMP_AT
    directories = {index: place for index, place in enumerate(image.directories) if place[1]}
    for index in directories.keys() & LEFT:
        raise Declined(LEFT[index])
    for index in directories.keys() & {EXPORT, LOAD}:
        yield image.place(directories[index][0], STAMP_AT + 4) + STAMP_AT
    if RESOURCE in directories:
        yield from _resource_stamps(image, *directories[RESOURCE])
    if DEBUG in directories:
        yield from _debug_stamps(image, *directories[DEBUG])
    if IMPORT in directories:
        _check_unbound(image, directories[IMPORT][0], IMPORT_BYTES, STAMP_AT)
    if DELAYED in directories:
        _check_unbound(image, directories[DELAYED][0], DELAYED_BYTES, DELAYED_STAMP_AT)


def _debug_stamps(image: _Image, address: int, size: int) -> Iterator[int]:
    """Yield those of debug entries, which must be of kinds that name no other file.

    A PDB is found by the GUID in a CodeView entry, a .dbg file by the stamp itself; where there is
    an entry of /Brepro the stamps are hashes.
    """
    if size % DEBUG_BYTES:
        raise Declined("its debug directory has a broken size")
    at = image.place(address, size)
    for entry in range(at, at + size, DEBUG_BYTES):
        if image.number(entry + 12) not in HARMLESS_DEBUG:
            raise Declined("its debug information is elsewhere, or its stamps are no times")
        yield entry + STAMP_AT


def _resource_stamps(image: _Image, address: int, size: int) -> Iterator[int]:
    """Yield those of the tree of tables, each of which is within the directory and met once."""
    root = image.place(address, size)
    waiting, met, left = [0], {0}, MAX_RESOURCES
    while waiting:
        table = waiting.pop()
        at = root + table
        counts = image.data[at + 12 : at + 16]
        entries = int.from_bytes(counts[:2], "little") + int.from_bytes(counts[2:], "little")
        left -= entries
        if table + 16 + entries * 8 > size or left < 0:
            raise Declined("its resources are cut short, or too many")
        yield at + STAMP_AT
        for entry in range(at + 16, at + 16 + entries * 8, 8):
            child = image.number(entry + 4)
            if child & SUBTABLE and child ^ SUBTABLE not in met:
                met.add(child ^ SUBTABLE)
                waiting.append(child ^ SUBTABLE)


def _check_unbound(image: _Image, address: int, entry_bytes: int, stamp_at: int) -> None:
    """Raise Declined if imports are bound: their stamps are those of the libraries."""
    for entry in range(MAX_IMPORTS):
        at = image.place(address + entry * entry_bytes, entry_bytes)
        if not any(image.data[at : at + entry_bytes]):
            return
        if image.number(at + stamp_at):
            raise Declined("its imports are bound")
    raise Declined("its imports do not end")


def _checksum(data: Data, found: Sequence[Edit], at: int) -> Edit:
    """Return the edit that makes the checksum right once `found` is done.

    It is the sum of all words of 16 bits but its own, with carries added back, and the length.
    Raises Declined if it was not right before.
    """
    rest = sum(
        int.from_bytes(data[start : start + SUMMED_BYTES], "little") % 0xFFFF
        for start in range(0, len(data), SUMMED_BYTES)
    )
    rest -= sum(data[at + place] << 8 * ((at + place) % 2) for place in range(4))
    if _folded(rest) + len(data) != int.from_bytes(data[at : at + 4], "little"):
        raise Declined("its checksum is wrong")
    for edit in found:
        rest -= sum(data[place] << 8 * (place % 2) for place in range(edit.start, edit.end))
    return Edit(at, at + 4, (_folded(rest) + len(data)).to_bytes(4, "little"))


def _folded(total: int) -> int:
    """Return a sum with its carries added back, until it has 16 bits. No image is all zeros."""
    return (total - 1) % 0xFFFF + 1


FORMAT = Format(
    name="pe",
    version=1,
    harmless=True,
    rewrites="TimeDateStamp of the COFF header, and of the debug, export, resource and load"
    " configuration directories, with 0; the checksum, where there is one, with the right one",
    standard="Microsoft, PE Format",
    preserves="loaders compare stamps only with those in bound imports; 0 says that there is none",
    declines="stamps that are no times of the action; Authenticode, assemblies, bound imports;"
    " debug information in another file (PDB, .dbg); /Brepro; anything behind the last section",
    matches=matches,
    edits=edits,
)
