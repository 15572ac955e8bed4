"""ELF executables and shared libraries: temporary names in their symbols, and the GNU build-id.

A build-id is random (`--build-id=uuid`), or follows from the bytes that the linker wrote, temporary
names among them. The canonical one follows from the canonical bytes; one that is no random one is
left where nothing else changes.

Source: Linux Extensions to gABI, section "Object Files", NT_GNU_BUILD_ID: any bytes that are unique
for the set of meaningful contents.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

from determinism import elf
from determinism.elf_symbols import file_name_edits
from determinism.format import Conditions, Data, Declined, Edit, Format

NT_GNU_BUILD_ID = 3
NOTE_HEADER_BYTES = 12
MAX_NOTES_BYTES = 1 << 20  # notes are of some dozen bytes
RANDOM_BYTES = 16  # of an id of the style uuid, or md5, which cannot be told from it
MIN_ID_BYTES = 8  # shorter ones were given by hand
HASH_BYTES = 32
HASHED_BYTES = 1 << 20  # of the file, copied to be hashed at a time
MAX_PADDING_BYTES = 1 << 16  # zeros that may follow the last part: the largest page

TWINS = (b".gnu_debuglink", b".gnu_debugaltlink", b".gnu.prelink_undo")
INDICES = (b".debug_cu_index", b".debug_tu_index")  # of a .dwp file
LEFT_PREFIXES = (b".sig", b"signature", b".SUNW_signature", b".rustc", b".zdebug")


class _Id(NamedTuple):
    """Where the build-id's bytes are."""

    start: int
    end: int


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return elf.kind_of(head) in {elf.ET_EXEC, elf.ET_DYN}


def identity(data: Data) -> bytes | None:
    """Return the build-id of an ELF file, or None if it has none, or is no ELF file.

    Another output in which it stands, as bytes or in hexadecimal digits, refers to this file.
    """
    try:
        found = _build_id(data, elf.parsed(data))
    except Declined:
        return None
    return None if found is None else data[found.start : found.end]


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Put constants into STT_FILE names, and compute the build-id anew."""
    parsed = elf.parsed(data)
    _check_alone(data, parsed)
    found = _build_id(data, parsed)
    if found is None:
        return file_name_edits(data, parsed, conditions)
    follows = found.end - found.start != RANDOM_BYTES and not conditions.seen_root
    if follows and not file_name_edits(data, parsed, conditions):
        return ()  # from bytes that stay: no path was rewritten before, and no name is
    _check_unique(data, found, conditions)
    names = file_name_edits(data, parsed, conditions)
    if any(edit.start < found.end and found.start < edit.end for edit in names):
        raise Declined("its build-id and its names overlap")
    new = _identified(data, names, found)
    if new.new == data[found.start : found.end]:
        return names
    return sorted([*names, new])


def _check_alone(data: Data, parsed: elf.Elf) -> None:
    """Raise Declined if something else is made for just these bytes, or for their build-id."""
    if parsed.kind not in {elf.ET_EXEC, elf.ET_DYN}:
        raise Declined("it is neither executable nor shared library")
    if len(data) - parsed.end > MAX_PADDING_BYTES or any(data[parsed.end :]):
        raise Declined("something follows it, such as a signature or an archive")
    for section in parsed.sections:
        name = section.name
        if name in TWINS or name in INDICES or name.startswith(LEFT_PREFIXES):
            raise Declined(f"it has a section {name.decode(errors='replace')}")
        if section.flags & elf.SHF_EXECINSTR and section.kind == elf.SHT_NOBITS:
            raise Declined("it has the debug information of another file")


def _build_id(data: Data, parsed: elf.Elf) -> _Id | None:
    found = [
        note
        for section in parsed.sections
        if section.kind == elf.SHT_NOTE
        for note in _build_ids(data, section, parsed.order)
    ]
    if len(found) > 1:
        raise Declined("it has several build-ids")
    if not found:
        return None
    if not MIN_ID_BYTES <= found[0].end - found[0].start <= HASH_BYTES:
        raise Declined("its build-id is of no length that linkers make")
    return found[0]


def _build_ids(data: Data, section: elf.Section, order: str) -> list[_Id]:
    """Return the build-ids among a section's notes. They are aligned to 4 bytes."""
    found = []
    at, end = section.start, min(section.end, section.start + MAX_NOTES_BYTES)
    while at + NOTE_HEADER_BYTES <= end:
        name_bytes, size, kind = struct.unpack_from(order + "III", data, at)
        name_at = at + NOTE_HEADER_BYTES
        start = name_at + (name_bytes + 3 & ~3)
        if start + size > end:
            break
        if kind == NT_GNU_BUILD_ID and data[name_at : name_at + name_bytes] == b"GNU\0":
            found.append(_Id(start, start + size))
        at = start + (size + 3 & ~3)
    return found


def _identified(data: Data, names: Sequence[Edit], found: _Id) -> Edit:
    """Return the edit that makes the build-id what the bytes hash to, with itself as zeros.

    Its length stays. Of SHA-256, since it says no more than the bytes do, and is fast.
    """
    hasher = hashlib.sha256()
    at = 0
    for edit in sorted([*names, Edit(found.start, found.end, bytes(found.end - found.start))]):
        for start in range(at, edit.start, HASHED_BYTES):
            hasher.update(data[start : min(start + HASHED_BYTES, edit.start)])
        hasher.update(edit.new)
        at = edit.end
    for start in range(at, len(data), HASHED_BYTES):
        hasher.update(data[start : start + HASHED_BYTES])
    return Edit(found.start, found.end, hasher.digest()[: found.end - found.start])


def _check_unique(data: Data, found: _Id, conditions: Conditions) -> None:
    """Raise Declined if the build-id stands anywhere else: there it would no longer be true."""
    old = data[found.start : found.end]
    digits = old.hex().encode()
    if conditions.in_inputs(old):
        raise Declined("its build-id is that of an input")
    if data.find(old) != found.start or data.find(old, found.start + 1) >= 0:
        raise Declined("its build-id stands in it once more")
    if data.find(digits) >= 0 or data.find(digits.upper()) >= 0:
        raise Declined("its build-id stands in it in digits")


FORMAT = Format(
    name="elf image",
    version=1,
    harmless=False,
    rewrites="names of temporary files in STT_FILE symbols, with constants of the same length; the"
    " GNU build-id, where it is of 16 bytes or such names change, with a hash of the canonical"
    " bytes",
    standard="System V ABI, Object Files; Linux Extensions to gABI, NT_GNU_BUILD_ID",
    preserves="neither loaders nor programs go by such symbols; a build-id has to be unique for"
    " the contents, and is",
    declines="core files; debug information kept in, or of, another file; signatures and whatever"
    " is appended; a build-id of an input, or that stands elsewhere in the file. Where it stands in"
    " another output, the caller has to decline: see identity",
    matches=matches,
    edits=edits,
)
