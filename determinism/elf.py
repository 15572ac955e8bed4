"""ELF files: where their sections are.

Source: Tool Interface Standard, ELF 1.2, book I, and the System V ABI's 64-bit object format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from determinism.format import Data, Declined

MAGIC = b"\x7fELF"
ET_REL, ET_EXEC, ET_DYN = 1, 2, 3
SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_NOBITS = 2, 3, 7, 8
SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 0x2, 0x4, 0x800
STT_FILE = 4
SHN_XINDEX = 0xFFFF

BLOCK_ENTRIES = 1 << 15  # of a table, copied out of the file at a time
MAX_SECTIONS = 1 << 20  # a compiler gives each function one; more is no compiler's work
MAX_NAME_BYTES = 1 << 16  # C++ gives sections names of some thousands

Row = tuple[int, ...]


class Section(NamedTuple):
    """One entry of the section table.

    name_at: offset of its name in the section that has the names. kind: sh_type.
    start, end: the bytes it has in the file, the end not included; none if it is SHT_NOBITS.
    entry_bytes: size of each of its entries, where it is a table.
    """

    name: bytes
    name_at: int
    kind: int
    flags: int
    address: int
    start: int
    end: int
    link: int
    info: int
    entry_bytes: int


class Elf(NamedTuple):
    """An ELF file that has a section table, all of whose parts lie within it.

    kind: e_type. order: `<` or `>`, for `struct`. wide: whether it is of 64 bits.
    names: index of the section that holds the names of sections.
    end: where the last of its parts ends; bytes behind it belong to something else.
    """

    kind: int
    order: str
    wide: bool
    sections: Sequence[Section]
    names: int
    end: int

    def named(self, *names: bytes) -> list[Section]:
        return [section for section in self.sections if section.name in names]

    def apart(self, part: Section) -> bool:
        """Tell whether no other section has any of the bytes of `part`."""
        return not any(
            section.start < part.end and part.start < section.end
            for section in self.sections
            if section is not part and section.start < section.end
        )


class _Header(NamedTuple):
    """The fields of the file header that say where the tables are, and of what size."""

    kind: int
    version: int
    program_at: int
    section_at: int
    header_bytes: int
    program_bytes: int
    programs: int
    section_bytes: int
    sections: int
    names: int


def kind_of(head: bytes) -> int:
    """Return e_type of a file that starts with `head`, or 0 if that is of no ELF file."""
    if head[:4] != MAGIC or len(head) < 18 or head[5] not in {1, 2}:  # noqa: PLR2004 - bytes up to e_type
        return 0
    return int.from_bytes(head[16:18], "little" if head[5] == 1 else "big")


def parsed(data: Data) -> Elf:
    """Find the sections of an ELF file. Raises Declined if a part does not lie within it."""
    if data[:4] != MAGIC or len(data) < 16 or data[4:7] not in _IDENTITIES:  # noqa: PLR2004 - e_ident
        raise Declined("it is no ELF file")
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"  # noqa: PLR2004 - ELFCLASS64
    header = _header(data, order, wide=wide)
    rows, names = _section_rows(data, header, order, wide=wide)
    sections = _sections(data, rows, names)
    end = max(
        header.header_bytes,
        header.section_at + len(rows) * header.section_bytes,
        _segments_end(data, header, order, wide=wide),
        *(section.end for section in sections),
    )
    if end > len(data):
        raise Declined("a part of it lies beyond its end")
    return Elf(header.kind, order, wide, sections, names, end)


def table(data: Data, section: Section, layout: struct.Struct) -> Iterator[Row]:
    """Yield the rows of a table that fills a section. Raises Declined if they do not fill it."""
    if section.entry_bytes != layout.size or (section.end - section.start) % layout.size:
        raise Declined(f"the table {section.name.decode(errors='replace')} has a broken size")
    step = BLOCK_ENTRIES * layout.size
    for at in range(section.start, section.end, step):
        yield from layout.iter_unpack(data[at : min(at + step, section.end)])


def text_at(data: Data, strings: Section, offset: int) -> bytes:
    """Return a string of a string table. Raises Declined if there is none at `offset`."""
    start = strings.start + offset
    end = data.find(b"\0", start, min(strings.end, start + MAX_NAME_BYTES))
    if end < 0:
        raise Declined("a name does not end within its table")
    return data[start:end]


_IDENTITIES = {bytes((wide, order, 1)) for wide in (1, 2) for order in (1, 2)}
_WIDE_HEADER = "16xH2xI8xQQ4xHHHHHH"
_NARROW_HEADER = "16xH2xI4xII4xHHHHHH"
_WIDE_SECTION = "IIQQQQII8xQ"
_NARROW_SECTION = "IIIIIIII4xI"
_WIDE_SEGMENT = "8xQ16xQ16x"
_NARROW_SEGMENT = "4xI8xI12x"


def _header(data: Data, order: str, *, wide: bool) -> _Header:
    layout = struct.Struct(order + (_WIDE_HEADER if wide else _NARROW_HEADER))
    if len(data) < layout.size:
        raise Declined("its header is cut short")
    header = _Header(*layout.unpack_from(data))
    if header.version != 1 or header.header_bytes != layout.size:
        raise Declined("its header is of no known version")
    return header


def _section_rows(data: Data, header: _Header, order: str, *, wide: bool) -> tuple[list[Row], int]:
    """Return the section table, and the index of the section that has the names.

    Counts that the header has no room for stand in the table's first entry.
    """
    layout = struct.Struct(order + (_WIDE_SECTION if wide else _NARROW_SECTION))
    start = header.section_at
    if start == 0 or header.section_bytes != layout.size or start + layout.size > len(data):
        raise Declined("it has no section table")
    first = layout.unpack_from(data, start)
    count = header.sections or first[5]
    names = first[6] if header.names == SHN_XINDEX else header.names
    if count > MAX_SECTIONS or start + count * layout.size > len(data) or names >= count:
        raise Declined("its section table is cut short")
    return list(layout.iter_unpack(data[start : start + count * layout.size])), names


def _sections(data: Data, rows: Sequence[Row], names: int) -> list[Section]:
    def section(name: bytes, row: Row) -> Section:
        name_at, kind, flags, address, start, size, link, info, entry_bytes = row
        if kind in {0, SHT_NOBITS}:
            start, size = 0, 0
        return Section(
            name, name_at, kind, flags, address, start, start + size, link, info, entry_bytes
        )

    strings = section(b"", rows[names])
    if strings.kind != SHT_STRTAB or strings.end > len(data):
        raise Declined("its sections have no names")
    return [section(text_at(data, strings, row[0]), row) for row in rows]


def _segments_end(data: Data, header: _Header, order: str, *, wide: bool) -> int:
    """Return where the last segment, or the table of segments, ends."""
    layout = struct.Struct(order + (_WIDE_SEGMENT if wide else _NARROW_SEGMENT))
    if not header.programs:
        return 0
    end = header.program_at + header.programs * layout.size
    if header.program_bytes != layout.size or end > len(data):
        raise Declined("its program table is cut short")
    rows: Iterator[Row] = layout.iter_unpack(data[header.program_at : end])
    return max(end, *(start + size for start, size in rows))
