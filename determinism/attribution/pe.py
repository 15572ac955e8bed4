"""PE images and COFF objects by header field and section.

Source: PE Format (Microsoft), "COFF File Header", "Optional Header", "Section Table".
"""

from __future__ import annotations

import struct

from determinism.attribution.part import Part, Unreadable, stretch, with_gaps

MAGIC = b"MZ"
_SECTION_BYTES, _COFF_BYTES, _CHECKSUM_AT = 40, 20, 64


def split(data: bytes, most: int) -> list[Part]:
    """Take apart an image: time stamp, checksum, sections by name, the rest as headers."""
    (at,) = struct.unpack_from("<I", data, 60)
    if data[at : at + 4] != b"PE\0\0":
        raise Unreadable("no PE signature")
    at += 4
    count, optional_bytes = struct.unpack_from("<2xH12xH", data, at)
    optional = at + _COFF_BYTES
    parts = [
        stretch("COFF header: TimeDateStamp", data, at + 4, at + 8),
        stretch(
            "optional header: CheckSum",
            data,
            optional + _CHECKSUM_AT,
            optional + _CHECKSUM_AT + 4,
            derived=True,
        ),
    ]
    table = optional + optional_bytes
    for header in range(table, table + count * _SECTION_BYTES, _SECTION_BYTES):
        name, size, start = struct.unpack_from("<8s8x2I", data, header)
        if size:
            shown = name.rstrip(b"\0").decode(errors="replace")
            parts.append(stretch(shown, data, start, start + size))
    return with_gaps(data, parts, "headers")
