"""Compressed uploads: whatever a stream claims, what comes of a piece of it is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import zstandard

from fuzz.target import Target
from re_client.status import Refused
from re_server.compression.codec import Codec
from re_server.compression.codecs import CODECS

MAX_PART_BYTES = 34 << 20  # of zstd, which stops where a slice of its input ends
PIECE_BYTES = 7


def decode(codec: Codec, data: bytes) -> None:
    whole = _decoded(codec, data)
    pieces = (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
    cut = _decoded(codec, *pieces)
    # Which frames zstd refuses is not quite the same: of an empty last block, only a decoder that
    # has the whole frame looks whether the frame has come to its size.
    assert whole == cut or (codec.name == "zstd" and None in {whole, cut})
    if whole is not None:
        assert _decoded(codec, codec.pack(whole)) == whole


def _decoded(codec: Codec, *pieces: bytes) -> bytes | None:
    """Return what `pieces` stand for, None if they are refused."""
    decoder, parts = codec.decoder(), list[bytes]()
    try:
        for piece in pieces:
            for part in decoder.decode(piece):
                assert 0 < len(part) <= MAX_PART_BYTES
                parts.append(part)
        decoder.end()
    except Refused:
        return None
    return b"".join(parts)


CONTENTS = (b"", b"a", b"hello, " * 40, bytes(range(256)), b"x" * 60_000)


def _streams(codec: Codec) -> Iterator[bytes]:
    packed = [codec.pack(contents) for contents in CONTENTS]
    yield from packed
    yield packed[2][:-3]
    if codec.name == "zstd":
        yield b"".join(packed[:3])
        yield zstandard.ZstdCompressor(level=19, write_checksum=True).compress(CONTENTS[2])
        yield bytes.fromhex("502a4d18") + (5).to_bytes(4, "little") + b"aside"  # to be skipped


TARGETS = {
    codec.name: Target(partial(decode, codec), partial(_streams, codec), max_bytes=512)
    for codec in CODECS
}
