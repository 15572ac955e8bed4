"""Temporary names among the symbols of ELF files.

An STT_FILE symbol says which source or object the symbols behind it come from. Neither linkers nor
loaders go by it: it has no value, is local, and so is in no hash table.

Source: ELF 1.2, book I, "Symbol Table": STT_FILE.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from determinism.elf import (
    SHT_STRTAB,
    SHT_SYMTAB,
    STT_FILE,
    Elf,
    Section,
    table,
    text_at,
)
from determinism.format import Conditions, Data, Declined, Edit
from determinism.temporary import FILE_NAME, Constants

_WIDE_SYMBOL = "IB19x"
_NARROW_SYMBOL = "I8xB3x"


def file_name_edits(data: Data, elf: Elf, conditions: Conditions) -> list[Edit]:
    """Return the edits that put constants into temporary names of STT_FILE symbols.

    A name in whose changed part another name begins, or ends (tables share what names end in), is
    left as it is; so is one that stands in an input. Raises Declined if a table is broken.
    """
    tables = [section for section in elf.sections if section.kind == SHT_SYMTAB]
    if not tables:
        return []
    if len(tables) > 1:
        raise Declined("it has several symbol tables")
    symbols, strings = tables[0], _strings_of(elf, tables[0])
    found = _candidates(data, elf, symbols, strings)
    if not found:
        return []
    _drop_shared(found, data, elf, symbols, strings)
    constants = Constants(conditions.in_inputs)
    edits = [constants.edit(match, strings.start + offset) for offset, match in found.items()]
    return sorted(edit for edit in edits if edit and data[edit.start : edit.end] != edit.new)


_Found = dict[int, re.Match[bytes]]
"""Offset of a name in its table, and what of it is random; in the order of the symbols."""


def _strings_of(elf: Elf, symbols: Section) -> Section:
    """Return the section with the names of `symbols`, which must serve for nothing but names."""
    if symbols.link >= len(elf.sections):
        raise Declined("its symbols have no names")
    strings = elf.sections[symbols.link]
    others = (
        section
        for section in elf.sections
        if section.link == symbols.link and section is not symbols and section.kind
    )
    if strings.kind != SHT_STRTAB or any(others) or not elf.apart(strings):
        raise Declined("its symbols have no names of their own")
    return strings


def _rows(data: Data, elf: Elf, symbols: Section) -> Iterator[tuple[int, ...]]:
    """Yield offset of the name, and st_info, of each symbol."""
    return table(
        data, symbols, struct.Struct(elf.order + (_WIDE_SYMBOL if elf.wide else _NARROW_SYMBOL))
    )


def _candidates(data: Data, elf: Elf, symbols: Section, strings: Section) -> _Found:
    found: _Found = {}
    for number, (offset, info) in enumerate(_rows(data, elf, symbols)):
        if number >= symbols.info:  # what is not local comes behind what is
            break
        if info & 0xF == STT_FILE and offset and offset not in found:
            match = FILE_NAME.fullmatch(text_at(data, strings, offset))
            if match and data[strings.start + offset - 1] == 0:
                found[offset] = match
    return found


def _drop_shared(found: _Found, data: Data, elf: Elf, symbols: Section, strings: Section) -> None:
    """Take out of `found` the names in whose changed part, or at whose start, another begins."""
    owners = {
        offset + at: offset
        for offset, match in found.items()
        for at in range(match.end(match.lastindex or 0))
    }
    for offset, info in _rows(data, elf, symbols):
        owner = owners.get(offset)
        if owner is not None and (offset != owner or info & 0xF != STT_FILE):
            found.pop(owner, None)
    if elf.sections[elf.names] is strings:
        for section in elf.sections:
            owner = owners.get(section.name_at)
            if owner is not None:
                found.pop(owner, None)
