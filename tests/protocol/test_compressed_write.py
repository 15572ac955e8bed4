from __future__ import annotations

import grpc
import pytest
import zstandard

from tests.compressors import ZSTD_CLAIMS_2_GIB, pack, zstd_run
from tests.protocol.blobs import ZSTD, unique
from tests.protocol.peer import Peer, refused
from tests.protocol.sending import STEP_BYTES, Sender, message


def test_a_new_blob_is_committed_in_compressed_bytes(each: Peer) -> None:
    # REAPI rule: committed_size of a compressed upload counts what was sent.
    data = unique(500_000) + b"." * 2_500_000
    packed = pack(ZSTD, data)
    digest = each.digest(data)
    assert each.write(each.write_name(digest, compressor=ZSTD), packed) == len(packed)
    assert each.read(digest) == data


def test_a_blob_that_is_there_ends_its_compressed_upload_with_minus_one(each: Peer) -> None:
    # REAPI rule: committed_size is -1 where a compressed upload was not needed.
    data = b"a blob that is there" + unique()
    digest = each.put_one(data)
    packed = pack(ZSTD, data)
    assert each.write(each.write_name(digest, compressor=ZSTD), packed) == -1
    assert each.send([message(each.write_name(digest, compressor=ZSTD), packed[:3])]) == -1


def test_the_empty_blob_ends_its_compressed_upload_at_once(each: Peer) -> None:
    # REAPI rule: empty blobs are always available, so this one is there already.
    packed = pack(ZSTD, b"")
    name = each.write_name(each.digest(b""), compressor=ZSTD)
    assert each.write(name, packed) in {-1, len(packed)}


def test_an_upload_ends_with_minus_one_when_another_client_was_faster(each: Peer) -> None:
    # REAPI rule: also in the middle of an upload.
    data = unique(3_900_000)
    digest, packed = each.digest(data), pack(ZSTD, data)
    name = each.write_name(digest, compressor=ZSTD)
    slow = Sender(each)
    slow.send(message(name, packed[:STEP_BYTES]))
    each.put_one(data)
    for start in range(STEP_BYTES, 3_000_000, STEP_BYTES):
        slow.send(message(name, packed[start : start + STEP_BYTES], offset=start))
    assert slow.committed_size() == -1
    slow.close()


def test_offsets_after_the_first_count_compressed_bytes(each: Peer) -> None:
    # REAPI rule: each write_offset is the first one and the compressed lengths since.
    data = b"compressible " * 100_000 + unique()
    digest, packed = each.digest(data), pack(ZSTD, data)
    name = each.write_name(digest, compressor=ZSTD)
    cut = len(packed) // 2
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_offset"):
        each.send(
            [
                message(name, packed[:cut]),
                message(name, packed[cut:], offset=len(data) // 2, finish=True),
            ]
        )
    sent = [message(name, packed[:cut]), message(name, packed[cut:], offset=cut, finish=True)]
    assert each.send(sent) == len(packed)
    assert each.read(digest) == data


def test_one_byte_in_each_message_is_enough(peer: Peer) -> None:
    data = b"one byte at a time" + unique()
    packed = pack(ZSTD, data)
    name = peer.write_name(peer.digest(data), compressor=ZSTD)
    sent = [
        message(name, packed[at : at + 1], offset=at, finish=at + 1 == len(packed))
        for at in range(len(packed))
    ]
    assert peer.send(sent) == len(packed)
    assert peer.read(peer.digest(data)) == data


def test_several_frames_are_one_blob(each: Peer) -> None:
    # RFC 8878: frames that follow one another decompress to their contents joined.
    data = unique(3000)
    packed = pack(ZSTD, data[:1000]) + pack(ZSTD, data[1000:2000]) + pack(ZSTD, data[2000:])
    name = each.write_name(each.digest(data), compressor=ZSTD)
    assert each.write(name, packed) == len(packed)
    assert each.read(each.digest(data)) == data


@pytest.mark.parametrize("level", [1, 19, 22])
def test_every_level_is_read(peer: Peer, level: int) -> None:
    data = unique(50_000) * 60
    packed = pack(ZSTD, data, level=level)
    name = peer.write_name(peer.digest(data), compressor=ZSTD)
    assert peer.write(name, packed) == len(packed)
    assert peer.read(peer.digest(data)) == data


def test_a_frame_without_content_size_is_read(peer: Peer) -> None:
    data = unique(200_000)
    packing = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    packed = packing.compress(data) + packing.flush()
    name = peer.write_name(peer.digest(data), compressor=ZSTD)
    assert peer.write(name, packed) == len(packed)
    assert peer.read(peer.digest(data)) == data


HOSTILE = {
    "no frame": b"this is no zstd frame at all",
    "nothing": b"",
    "a frame cut short": pack(ZSTD, b"a" * 100 + bytes(range(100)))[:-5],
    "a frame and bytes behind it": pack(ZSTD, b"a" * 100) + b"more",
    "a frame and half of another": pack(ZSTD, b"a" * 100) + pack(ZSTD, bytes(range(99)))[:9],
    "another blob": pack(ZSTD, b"b" * 100),
    "more than the size": pack(ZSTD, b"a" * 101),
    "less than the size": pack(ZSTD, b"a" * 99),
    "a claim of 2 GiB in 17 bytes": ZSTD_CLAIMS_2_GIB,
    "a run of 2 GiB in 64 KiB": zstd_run(2 << 30),
    "a header alone": pack(ZSTD, b"a" * 100)[:6],
    "the uncompressed bytes": b"a" * 100,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_compressed_bytes_that_are_not_the_blobs_are_refused_and_not_kept(
    peer: Peer, kind: str
) -> None:
    # REAPI rule: what does not match once decompressed is INVALID_ARGUMENT.
    digest = peer.digest(b"a" * 100)
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        peer.write(peer.write_name(digest, compressor=ZSTD), HOSTILE[kind])
    assert not peer.has(digest)
    assert peer.has(peer.digest(b""))


def test_a_flipped_bit_in_the_compressed_bytes_is_noticed(peer: Peer) -> None:
    data = unique(10_000)
    packed = bytearray(pack(ZSTD, data))
    packed[5000] ^= 1
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        peer.write(peer.write_name(peer.digest(data), compressor=ZSTD), bytes(packed))
    assert not peer.has(peer.digest(data))


@pytest.mark.parametrize("compressor", ["identity", "ZSTD", "lzma", "", ".."])
def test_names_with_no_compressor_of_the_protocol_are_refused(peer: Peer, compressor: str) -> None:
    # REAPI rule: the lowercase name of a Compressor other than identity.
    digest = peer.put_one(unique())
    name = f"compressed-blobs/{compressor}/{digest.hash}/{digest.size_bytes}"
    with refused(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED):
        list(peer.pieces(name))
