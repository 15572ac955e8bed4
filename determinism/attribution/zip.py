"""ZIP archives by member and header field.

Source: APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.16 (end).
"""

from __future__ import annotations

import struct
import zlib

from determinism.attribution.part import MAX_PARTS, Part, Unreadable, stretch

MAGIC = b"PK\x03\x04"
_CENTRAL, _END = b"PK\x01\x02", b"PK\x05\x06"
_END_BYTES, _CENTRAL_BYTES, _LOCAL_BYTES = 22, 46, 30
_DEFLATED = 8
_MOST_COMMENT = 0xFFFF


def matches(data: bytes) -> bool:
    """Tell whether it begins like an archive, or is a script or program before one."""
    return data.startswith(MAGIC) or _end_of(data) >= 0


def _end_of(data: bytes) -> int:
    return data.rfind(_END, max(0, len(data) - _END_BYTES - _MOST_COMMENT))


def split(data: bytes, most: int) -> list[Part]:
    """Take apart an archive by its central directory; what stands before it is a part too."""
    end = _end_of(data)
    if end < 0:
        raise Unreadable("no end of central directory")
    count, size, at = struct.unpack_from("<H2I", data, end + 10)
    before = end - size - at  # offsets count from the archive's start: a program may precede it
    if before < 0 or count > MAX_PARTS or size == 0xFFFFFFFF:  # noqa: PLR2004
        raise Unreadable("no such central directory")
    parts = [stretch("before the archive", data, 0, before)] if before else []
    at += before
    for _ in range(count):
        if data[at : at + 4] != _CENTRAL:
            raise Unreadable("no central header")
        member = _member(data, at, before, most)
        most -= len(member[-1].data)
        parts += member
        at += _CENTRAL_BYTES + sum(struct.unpack_from("<3H", data, at + 28))
    parts.append(stretch("end of central directory", data, at, len(data), derived=True))
    return parts


def _member(data: bytes, at: int, before: int, most: int) -> list[Part]:
    """Return the parts of the member whose central header is at `at`; the last is its contents."""
    (method,) = struct.unpack_from("<H", data, at + 10)
    (packed,) = struct.unpack_from("<I", data, at + 20)
    name_size, extra_size, comment_size = struct.unpack_from("<3H", data, at + 28)
    (local,) = struct.unpack_from("<I", data, at + 42)
    local += before
    local_name_size, local_extra_size = struct.unpack_from("<2H", data, local + 26)
    central_name = at + _CENTRAL_BYTES
    name = data[central_name : central_name + name_size].decode(errors="replace")
    extra = local + _LOCAL_BYTES + local_name_size
    body = extra + local_extra_size
    central_extra = central_name + name_size
    contents = stretch(name, data, body, body + packed)
    return [
        stretch(f"{name}: modified", data, local + 10, local + 14),
        stretch(f"{name}: extra field", data, extra, body),
        stretch(f"{name}: modified", data, at + 12, at + 16),
        stretch(f"{name}: attributes", data, at + 36, at + 42),
        stretch(f"{name}: extra field", data, central_extra, central_extra + extra_size),
        stretch(
            f"{name}: comment",
            data,
            central_extra + extra_size,
            central_extra + extra_size + comment_size,
        ),
        _inflated(contents, most) if method == _DEFLATED else contents,
    ]


def _inflated(part: Part, most: int) -> Part:
    try:
        return part._replace(data=zlib.decompressobj(-zlib.MAX_WBITS).decompress(part.data, most))
    except zlib.error as error:
        raise Unreadable(f"{part.name}: {error}") from None
