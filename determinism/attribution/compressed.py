"""Compressed files: what their headers say, and what they hold."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib

import zstandard

from determinism.attribution.part import Part, Unreadable, stretch

GZIP, XZ, BZIP2, ZSTD = b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd"
_HAS_EXTRA, _HAS_NAME = 4, 8
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


def split_gzip(data: bytes, most: int) -> list[Part]:
    """Take apart each member: MTIME, the other header fields, the contents.

    Source: RFC 1952, section 2.3.
    """
    parts: list[Part] = []
    at = 0
    while data.startswith(GZIP, at) and most > 0:
        inflate = zlib.decompressobj(_GZIP_WINDOW)
        try:
            contents = inflate.decompress(data[at:], most)
        except zlib.error as error:
            raise Unreadable(str(error)) from None
        end = len(data) - len(inflate.unused_data) if inflate.eof else len(data)
        parts += [
            stretch("MTIME", data, at + 4, at + 8),
            stretch("flags and system", data, at + 8, at + 10),
            Part("name", at + 10, at + 10, _named(data, at)),
            Part("contents", at + 10, end, contents),
        ]
        most -= len(contents)
        at = end
    return parts


def _named(data: bytes, at: int) -> bytes:
    """Return FNAME where there is one, and nothing before it."""
    if data[at + 3] & (_HAS_EXTRA | _HAS_NAME) != _HAS_NAME:
        return b""
    return data[at + 10 : data.find(b"\0", at + 10)]


def split_xz(data: bytes, most: int) -> list[Part]:
    try:
        contents = lzma.LZMADecompressor(memlimit=256 << 20).decompress(data, most)
    except lzma.LZMAError as error:
        raise Unreadable(str(error)) from None
    return [Part("contents", 0, len(data), contents)]


def split_bzip2(data: bytes, most: int) -> list[Part]:
    try:
        contents = bz2.BZ2Decompressor().decompress(data, most)
    except OSError as error:
        raise Unreadable(str(error)) from None
    return [Part("contents", 0, len(data), contents)]


def split_zstd(data: bytes, most: int) -> list[Part]:
    try:
        with zstandard.ZstdDecompressor(max_window_size=128 << 20).stream_reader(data) as reader:
            contents = reader.read(most)
    except zstandard.ZstdError as error:
        raise Unreadable(str(error)) from None
    return [Part("contents", 0, len(data), contents)]


def split_pyc(data: bytes, most: int) -> list[Part]:
    """Take apart compiled Python: its source's time and size or hash, and the code.

    Source: PEP 552.
    """
    (flags,) = struct.unpack_from("<I", data, 4)
    if data[2:4] != b"\r\n" or flags > 3:  # noqa: PLR2004
        raise Unreadable("no header of compiled Python")
    checked = (
        [stretch("hash of the source", data, 8, 16, derived=True)]
        if flags
        else [
            stretch("mtime of the source", data, 8, 12),
            stretch("size of the source", data, 12, 16),
        ]
    )
    return [stretch("flags", data, 4, 8), *checked, stretch("code", data, 16, len(data))]
