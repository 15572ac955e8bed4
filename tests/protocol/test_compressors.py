"""Every compressor that is announced, over ByteStream; zstd has more in test_compressed_write."""

from __future__ import annotations

from pathlib import Path

import brotli
import grpc
import pytest

from tests.compressors import ZSTD_CLAIMS_2_GIB, pack, unpack, zstd_run
from tests.protocol.blobs import COMPRESSORS, ZSTD, unique
from tests.protocol.peer import Peer, refused
from tests.protocol.sending import message
from tests.serving import Served

SIZE = 2_500_000
TEXT = (b"a line of text that is compressed well\n" * (SIZE // 39 + 1))[:SIZE]


@pytest.fixture(params=COMPRESSORS)
def compressor(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_what_is_written_compressed_is_read_in_every_form(peer: Peer, compressor: str) -> None:
    # REAPI rule: committed_size counts what was sent; every blob can be had in every form.
    data = unique(400_000) + bytes(2_000_000)
    packed, digest = pack(compressor, data), peer.digest(data)
    assert peer.write(peer.write_name(digest, compressor=compressor), packed) == len(packed)
    assert peer.write(peer.write_name(digest, compressor=compressor), packed) == -1
    assert peer.read(digest) == data
    for other in COMPRESSORS:
        pieces = list(peer.pieces(peer.read_name(digest, compressor=other)))
        assert all(pieces)
        assert sum(map(len, pieces)) < len(data) / 2
        assert unpack(other, b"".join(pieces)) == data


@pytest.mark.parametrize("offset", [1, SIZE - 1, SIZE])
def test_the_offset_of_a_read_counts_uncompressed_bytes(
    peer: Peer, compressor: str, offset: int
) -> None:
    # REAPI rule: read_offset refers to the uncompressed blob; what is sent is one stream.
    digest = peer.digest(TEXT)
    peer.write(peer.write_name(digest), TEXT)
    name = peer.read_name(digest, compressor=compressor)
    assert unpack(compressor, b"".join(peer.pieces(name, offset=offset))) == TEXT[offset:]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="read_limit"):
        list(peer.pieces(name, offset=offset, limit=1))


def test_the_empty_blob_is_read_and_written(peer: Peer, compressor: str) -> None:
    # REAPI rule: empty blobs are always available, also compressed.
    empty = peer.digest(b"")
    read = b"".join(peer.pieces(peer.read_name(empty, compressor=compressor)))
    assert unpack(compressor, read) == b""
    name = peer.write_name(empty, compressor=compressor)
    assert peer.write(name, pack(compressor, b"")) == -1


def test_offsets_of_a_write_count_compressed_bytes_after_the_first(
    peer: Peer, compressor: str
) -> None:
    # REAPI rule: the first write_offset counts uncompressed bytes, the next add compressed lengths.
    data = unique(3000) + b"compressible " * 200_000
    digest, packed = peer.digest(data), pack(compressor, data)
    name, cut = peer.write_name(digest, compressor=compressor), len(packed) // 2
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_offset"):
        peer.send([message(name, packed[:cut]), message(name, packed[cut:], offset=cut + 1)])
    peer.send([message(name, packed[:cut]), message(name, packed[cut:], offset=cut, finish=True)])
    assert peer.read(digest) == data


def test_an_upload_that_broke_off_goes_on_with_a_new_stream(peer: Peer, compressor: str) -> None:
    # REAPI rule: it begins at the uncompressed offset that QueryWriteStatus tells.
    data = unique(600_000)
    digest = peer.digest(data)
    name = peer.write_name(digest, compressor=compressor)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="finish_write"):
        peer.send([message(name, pack(compressor, data)[:400_000])])
    kept = peer.write_status(name).committed_size
    assert 0 < kept < len(data)
    rest = pack(compressor, data[kept:])
    half = len(rest) // 2
    peer.send(
        [
            message(name, rest[:half], offset=kept),
            message(name, rest[half:], offset=kept + half, finish=True),
        ]
    )
    assert peer.read(digest) == data


def test_bytes_that_are_not_the_blobs_are_refused_and_not_kept(peer: Peer, compressor: str) -> None:
    # REAPI rule: what does not match once decompressed is INVALID_ARGUMENT.
    data = b"a" * 100
    right, digest = pack(compressor, data), peer.digest(data)
    for wrong in (
        b"this is no such stream at all",
        b"",
        data,
        right[:-1],
        right + b"more",
        right + right,
        pack(compressor, b"b" * 100),
        pack(compressor, b"a" * 99),
        pack(compressor, b"a" * 101),
    ):
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            peer.write(peer.write_name(digest, compressor=compressor), wrong)
        assert not peer.has(digest)


def test_a_brotli_window_that_rfc_7932_does_not_know_is_refused(peer: Peer) -> None:
    digest = peer.digest(b"a" * 100)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="brotli"):
        peer.write(peer.write_name(digest, compressor="brotli"), b"\x11\x1e" + bytes(50))


def most_resident(server: Served) -> int:
    """Return the most bytes that the server's process has had in memory. Source: proc(5)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_bombs_take_little_memory_and_stop_at_the_size_of_the_blob(
    peer: Peer, served: Served
) -> None:
    digest = peer.digest(b"a" * 100)
    bombs = [
        (ZSTD, ZSTD_CLAIMS_2_GIB),
        (ZSTD, zstd_run(2 << 30)),
        ("brotli", brotli.compress(bytes(512 << 20), quality=0)),
        ("deflate", pack("deflate", bytes(256 << 20), level=1)),
    ]
    before = most_resident(served)
    for compressor, bomb in bombs:
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            peer.write(peer.write_name(digest, compressor=compressor), bomb)
    assert most_resident(served) - before < 100 << 20
    assert not peer.has(digest)
