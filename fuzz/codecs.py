"""Compressed uploads: whatever a frame claims, what comes of a slice of it is bounded."""

from __future__ import annotations

from collections.abc import Iterator

import zstandard

from fuzz.target import Target
from re_client.status import Refused
from re_server.compression import SLICE_BYTES, Decoder

BLOCK_BYTES = 128 << 10  # RFC 8878, section 3.1.1.2.3: what a block stands for at the most
LEAST_BLOCK_BYTES = 4  # of those that stand for anything
MAX_PART_BYTES = SLICE_BYTES // LEAST_BLOCK_BYTES * BLOCK_BYTES
PIECE_BYTES = 7


def zstd(data: bytes) -> None:
    whole = _decoded(data)
    cut = _decoded(*(data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)))
    # Which frames are refused is not quite the same: of an empty last block, only a decoder that
    # has the whole frame looks whether the frame has come to its size.
    assert whole == cut or None in {whole, cut}


def _decoded(*pieces: bytes) -> bytes | None:
    """Return what `pieces` stand for, None if they are refused."""
    decoder, parts = Decoder(), list[bytes]()
    try:
        for piece in pieces:
            for part in decoder.decode(piece):
                assert 0 < len(part) <= MAX_PART_BYTES
                parts.append(part)
        decoder.end()
    except Refused:
        return None
    return b"".join(parts)


def _frames() -> Iterator[bytes]:
    contents = [b"", b"a", b"hello, " * 40, bytes(range(256)), b"x" * 300_000]
    for level in (1, 3, 19):
        frames = [zstandard.ZstdCompressor(level=level).compress(each) for each in contents]
        yield from frames
        yield b"".join(frames[:3])
    streaming = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    yield streaming.compress(b"streamed") + streaming.flush()
    yield bytes.fromhex("502a4d18") + (5).to_bytes(4, "little") + b"aside"  # to be skipped


TARGETS = {"zstd": Target(zstd, _frames, max_bytes=512)}
