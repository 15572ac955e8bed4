"""Frames of zstd."""

from __future__ import annotations

from collections.abc import Iterable

import zstandard


def unpack(pieces: Iterable[bytes]) -> bytes:
    """Decompress what has to be one zstd frame and nothing behind it."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    data = b"".join([frame.decompress(piece) for piece in pieces])
    assert frame.eof
    assert not frame.unused_data
    return data
