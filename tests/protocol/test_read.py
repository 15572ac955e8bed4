from __future__ import annotations

import grpc
import pytest
import zstandard

from protos import bytestream_pb2, remote_execution_pb2 as reapi
from tests.compressors import unpack
from tests.protocol.blobs import BLAKE3, SHA1, ZSTD, digest_of, read_name, unique
from tests.protocol.peer import CALL_SECONDS, Peer, refused

SIZE = 3_000_000
NAME_HEADER = "build.bazel.remote.execution.v2.resource-name"


def store(peer: Peer, data: bytes) -> reapi.Digest:
    digest = peer.digest(data)
    assert peer.write(peer.write_name(digest), data) == len(data)
    return digest


def test_a_blob_is_read_whole(each: Peer) -> None:
    data = unique(SIZE)
    assert each.read(store(each, data)) == data


@pytest.mark.parametrize("offset", [1, SIZE // 2, SIZE - 1])
@pytest.mark.parametrize("limit", [0, 1, SIZE // 4, SIZE, SIZE * 2])
def test_offset_and_limit_cut_out_a_part(peer: Peer, offset: int, limit: int) -> None:
    # REAPI rule: read_limit bounds the bytes sent; more than there is ends at the blob's end.
    data = bytes(range(256)) * (SIZE // 256) + b"." * (SIZE % 256)
    digest = store(peer, data)
    end = offset + limit if limit else SIZE
    assert peer.read(digest, offset=offset, limit=limit) == data[offset:end]


def test_an_offset_at_the_end_reads_nothing(each: Peer) -> None:
    # REAPI rule: an offset of exactly the size is an empty success.
    digest = store(each, unique(1000))
    assert each.read(digest, offset=1000) == b""
    assert each.read(digest, offset=1000, limit=5) == b""


@pytest.mark.parametrize("offset", [-1, 1001, (1 << 63) - 1, -(1 << 63)])
def test_an_offset_outside_the_blob_is_out_of_range(each: Peer, offset: int) -> None:
    # REAPI rule: a negative offset, or one beyond the size, is OUT_OF_RANGE.
    digest = store(each, unique(1000))
    with refused(grpc.StatusCode.OUT_OF_RANGE, naming="read_offset"):
        each.read(digest, offset=offset)
    assert len(each.read(digest)) == 1000


def test_a_negative_limit_is_refused(each: Peer) -> None:
    digest = store(each, unique(1000))
    with refused(
        grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, naming="read_limit"
    ):
        each.read(digest, limit=-1)


def test_a_missing_blob_is_not_found(each: Peer) -> None:
    digest = each.digest(unique())
    for compressor in ("", ZSTD):
        with refused(grpc.StatusCode.NOT_FOUND, naming=digest.hash):
            list(each.pieces(each.read_name(digest, compressor=compressor)))


def test_a_right_hash_with_a_wrong_size_is_not_found(each: Peer) -> None:
    # REAPI rule: the size is part of the digest.
    digest = store(each, unique(1000))
    for size in (0, 999, 1001):
        other = reapi.Digest(hash=digest.hash, size_bytes=size)
        with refused(grpc.StatusCode.NOT_FOUND):
            each.read(other)


def test_the_empty_blob_is_read_in_both_forms(each: Peer) -> None:
    # REAPI rule: empty blobs are always available, also compressed.
    digest = each.digest(b"")
    assert each.read(digest) == b""
    assert unpack(ZSTD, b"".join(each.pieces(each.read_name(digest, compressor=ZSTD)))) == b""


def test_no_piece_is_larger_than_a_client_takes(peer: Peer) -> None:
    # gRPC clients stop at messages of 4 MiB.
    digest = store(peer, unique(9_000_000))
    pieces = list(peer.pieces(peer.read_name(digest)))
    assert max(map(len, pieces)) <= 4_000_000
    assert all(pieces)


def test_a_compressed_read_is_one_frame(each: Peer) -> None:
    # Buck2 rule: releases of autumn 2025 stop after the first frame.
    data = unique(50_000) * 60
    pieces = list(each.pieces(each.read_name(store(each, data), compressor=ZSTD)))
    assert sum(map(len, pieces)) < len(data)
    assert unpack(ZSTD, b"".join(pieces)) == data


@pytest.mark.parametrize("offset", [0, 1, SIZE - 1, SIZE])
def test_the_offset_of_a_compressed_read_counts_uncompressed_bytes(each: Peer, offset: int) -> None:
    # REAPI rule: read_offset refers to the uncompressed blob.
    data = (b"a line of text that is compressed well\n" * (SIZE // 39 + 1))[:SIZE]
    name = each.read_name(store(each, data), compressor=ZSTD)
    assert unpack(ZSTD, b"".join(each.pieces(name, offset=offset))) == data[offset:]


@pytest.mark.parametrize("offset", [-1, 1001])
def test_the_offset_of_a_compressed_read_is_checked(each: Peer, offset: int) -> None:
    name = each.read_name(store(each, unique(1000)), compressor=ZSTD)
    with refused(grpc.StatusCode.OUT_OF_RANGE, naming="read_offset"):
        list(each.pieces(name, offset=offset))


@pytest.mark.parametrize("limit", [1, 1000, -1])
def test_a_compressed_read_takes_no_limit(each: Peer, limit: int) -> None:
    # REAPI rule: read_limit other than 0 is INVALID_ARGUMENT on a compressed blob.
    name = each.read_name(store(each, unique(1000)), compressor=ZSTD)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="read_limit"):
        list(each.pieces(name, limit=limit))


def test_what_was_uploaded_plain_is_read_compressed_and_the_other_way_round(each: Peer) -> None:
    # REAPI rule: every blob can be had in every announced form.
    data = unique(70_000) + b"z" * 70_000
    digest = each.digest(data)
    packed = zstandard.ZstdCompressor().compress(data)
    name = each.write_name(digest, compressor=ZSTD)
    assert each.write(name, packed) == len(packed)
    assert each.read(digest) == data
    assert unpack(ZSTD, b"".join(each.pieces(each.read_name(digest, compressor=ZSTD)))) == data


@pytest.mark.parametrize("instance", ["", "a/b"])
def test_instances_stand_before_the_keyword(peer: Peer, instance: str) -> None:
    # REAPI rule: an instance name may have several segments.
    there = peer.at(instance)
    data = unique()
    assert there.read(store(there, data)) == data


def test_blake3_is_named_and_the_others_are_told_by_length(peer: Peer) -> None:
    # REAPI rule: the function stands in the name for BLAKE3 and is left out for SHA256 and SHA1.
    data = unique()
    blake3 = store(peer.using(BLAKE3), data)
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.read(blake3)
    sha1 = store(peer.using(SHA1), data)
    assert b"".join(peer.pieces(f"blobs/{sha1.hash}/{sha1.size_bytes}")) == data


def test_in_a_blake3_instance_a_name_without_function_is_blake3(peer: Peer) -> None:
    # Buck2 rule: its resource names never hold a function.
    there = peer.at("blake3").using(BLAKE3)
    data = unique()
    digest = digest_of(data, BLAKE3)
    unnamed = f"blake3/uploads/9b0d4a3e-0a70-4e8c-a9ce-6d28d8d0e4bf/blobs/{digest.hash}/100"
    assert there.write(unnamed, data) == 100
    assert b"".join(there.pieces(f"blake3/blobs/{digest.hash}/100")) == data
    assert there.read(digest) == data


def test_the_resource_name_header_has_to_agree(peer: Peer) -> None:
    # REAPI rule: the header, if it is there, equals the request's resource_name.
    data = unique()
    name = read_name(store(peer, data))
    request = bytestream_pb2.ReadRequest(resource_name=name)
    right = peer.stream.Read(request, timeout=CALL_SECONDS, metadata=((NAME_HEADER, name),))
    assert b"".join(response.data for response in right) == data
    other = read_name(digest_of(b"other"))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="resource"):
        list(peer.stream.Read(request, timeout=CALL_SECONDS, metadata=((NAME_HEADER, other),)))


def test_a_reader_that_goes_away_does_no_harm(peer: Peer) -> None:
    data = unique(8_000_000)
    digest = store(peer, data)
    for _ in range(5):
        request = bytestream_pb2.ReadRequest(resource_name=peer.read_name(digest))
        call = peer.stream.Read(request, timeout=CALL_SECONDS)
        next(iter(call))
        call.cancel()
    assert peer.read(digest) == data
