"""ELF files by section.

Source: System V ABI, chapter 4: ELF header, section headers, compressed sections.
"""

from __future__ import annotations

import struct
import zlib

from determinism.attribution.part import MAX_PARTS, Part, Unreadable, stretch, with_gaps

MAGIC = b"\x7fELF"
_NOBITS, _NULL = 8, 0
_COMPRESSED = 0x800
_LARGE_HEADER, _SMALL_HEADER = 24, 12  # Elf64_Chdr, Elf32_Chdr
_DERIVED = {".note.gnu.build-id", ".gnu_debuglink", ".shstrtab", ".hash", ".gnu.hash"}


def split(data: bytes, most: int) -> list[Part]:
    """Take apart an object or an image of either word size and byte order."""
    if len(data) < 52 or data[4] not in {1, 2} or data[5] not in {1, 2}:  # noqa: PLR2004
        raise Unreadable("no ELF header")
    large, order = data[4] == 2, "<" if data[5] == 1 else ">"  # noqa: PLR2004
    (offset,) = struct.unpack_from(order + ("Q" if large else "I"), data, 40 if large else 32)
    size, count, names_at = struct.unpack_from(order + "3H", data, 58 if large else 46)
    form = struct.Struct(order + ("2I6Q" if large else "10I"))  # the first six fields are alike
    if not offset or not count or size < form.size or count > MAX_PARTS or names_at >= count:
        raise Unreadable("no section headers")
    headers = [form.unpack_from(data, offset + index * size)[:6] for index in range(count)]
    names = stretch("", data, headers[names_at][4], sum(headers[names_at][4:6])).data
    parts = [
        _inflated(stretch(name, data, at, at + length), flags, order, large=large, most=most)
        for name_at, kind, flags, _, at, length in headers
        if kind not in {_NOBITS, _NULL} and (name := _name(names, name_at))
    ]
    return with_gaps(data, parts, "headers")


def _name(names: bytes, at: int) -> str:
    return names[at : names.find(b"\0", at)].decode(errors="replace")


def _inflated(part: Part, flags: int, order: str, *, large: bool, most: int) -> Part:
    part = part._replace(derived=part.name in _DERIVED)
    if not flags & _COMPRESSED:
        return part
    (kind,) = struct.unpack_from(order + "I", part.data)
    if kind != 1:  # ELFCOMPRESS_ZLIB
        return part
    body = part.data[_LARGE_HEADER if large else _SMALL_HEADER :]
    try:
        return part._replace(data=zlib.decompressobj().decompress(body, most))
    except zlib.error as error:
        raise Unreadable(f"{part.name}: {error}") from None
