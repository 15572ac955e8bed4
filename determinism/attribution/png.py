"""PNG by chunk.

Source: W3C Portable Network Graphics (Third Edition), sections 5.3 and 11.3.
"""

from __future__ import annotations

import struct
import zlib

from determinism.attribution.part import MAX_PARTS, Part, Unreadable, stretch

MAGIC = b"\x89PNG\r\n\x1a\n"
_TEXTS = {"tEXt", "zTXt", "iTXt"}
_CRC_BYTES = 4


def split(data: bytes, most: int) -> list[Part]:
    """Take apart a file into chunks, their checksums apart; text chunks carry their keyword."""
    parts: list[Part] = []
    pixels: list[Part] = []
    at = len(MAGIC)
    while at < len(data) and len(parts) < MAX_PARTS:
        size, kind = struct.unpack_from(">I4s", data, at)
        body, end = at + 8, at + 8 + size
        name = kind.decode("latin-1")
        part = stretch(name, data, body, end)
        if name in _TEXTS:
            keyword = part.data.split(b"\0")[0].decode("latin-1")
            part = part._replace(name=f"{name} {keyword}")
        if name == "IDAT":
            pixels.append(part)
        else:
            parts.append(part)
        parts.append(stretch(f"{part.name}: checksum", data, end, end + _CRC_BYTES, derived=True))
        at = end + _CRC_BYTES
    if pixels:
        parts.append(_image(pixels, most))
    return parts


def _image(pixels: list[Part], most: int) -> Part:
    packed = b"".join(part.data for part in pixels)
    try:
        image = zlib.decompressobj().decompress(packed, most)
    except zlib.error as error:
        raise Unreadable(f"IDAT: {error}") from None
    return Part("IDAT", pixels[0].start, pixels[-1].end, image)
