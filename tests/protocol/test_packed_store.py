"""A server that stores blobs compressed answers as any other, and sends zstd as it is stored."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zstandard

from protos import remote_execution_pb2 as reapi
from tests.compressors import unpack
from tests.protocol.blobs import ZSTD, unique
from tests.protocol.peer import Peer

SETTINGS = 'server.drain_seconds = 2\nstore.compression = "zstd"\n'
SIZE = 3_000_000


def _text() -> bytes:
    return (unique(1000).hex().encode() * (SIZE // 2000 + 1))[:SIZE]


def _store(peer: Peer, data: bytes, *, compressor: str) -> reapi.Digest:
    digest = peer.digest(data)
    sent = zstandard.ZstdCompressor().compress(data) if compressor else data
    assert peer.write(peer.write_name(digest, compressor=compressor), sent) == len(sent)
    return digest


@pytest.mark.parametrize("upload", ["", ZSTD])
@pytest.mark.parametrize("make", [_text, lambda: unique(SIZE)], ids=["text", "noise"])
def test_what_was_uploaded_in_any_form_is_read_in_any(
    each: Peer, make: Callable[[], bytes], upload: str
) -> None:
    data = make()
    digest = _store(each, data, compressor=upload)
    for offset in (0, 1, SIZE // 2, SIZE - 1, SIZE):
        assert each.read(digest, offset=offset) == data[offset:]
        name = each.read_name(digest, compressor=ZSTD)
        assert unpack(ZSTD, b"".join(each.pieces(name, offset=offset))) == data[offset:]


def test_a_compressed_read_is_the_frame_that_is_stored(peer: Peer) -> None:
    data = _text()
    digest = _store(peer, data, compressor="")
    frame = b"".join(peer.pieces(peer.read_name(digest, compressor=ZSTD)))
    # Frames that are made for one answer have no checksum.
    assert zstandard.get_frame_parameters(frame).has_checksum
    noise = _store(peer, unique(SIZE), compressor="")
    made = b"".join(peer.pieces(peer.read_name(noise, compressor=ZSTD)))
    assert not zstandard.get_frame_parameters(made).has_checksum
