"""Every digest function, in every way that a blob goes."""

from __future__ import annotations

import grpc
import pytest

from protos import remote_execution_pb2 as reapi
from tests.compressors import pack, unpack
from tests.protocol.actions import outputs_of, put_script
from tests.protocol.blobs import (
    ALL_FUNCTIONS,
    BLAKE3,
    GITSHA1,
    NAMED,
    SHA1,
    SHA256,
    SHA256TREE,
    UNNAMED,
    ZSTD,
    digest_of,
    name_of,
    unique,
)
from tests.protocol.peer import Peer, refused

SIZES = (1, 1024, 1025, 30_000, 1_500_000)  # inline and in files, leaves and trees


def test_blobs_come_back_as_they_were_sent(every: Peer) -> None:
    blobs = [unique(size) for size in SIZES]
    batched = every.put(*blobs)
    assert not every.find_missing(*batched)
    assert [entry.data for entry in every.batch_read(*batched)] == blobs
    for data in (unique(size) for size in SIZES):
        digest = every.digest(data)
        assert every.write(every.write_name(digest), data) == len(data)
        assert every.read(digest) == data


def test_compressed_blobs_are_hashed_as_they_are_without_compression(every: Peer) -> None:
    data = unique(100_000)
    packed = pack(ZSTD, data)
    digest = every.digest(data)
    assert every.write(every.write_name(digest, compressor=ZSTD), packed) == len(packed)
    pieces = every.pieces(every.read_name(digest, compressor=ZSTD))
    assert unpack(ZSTD, b"".join(pieces)) == data


def test_the_empty_blob_is_always_there(every: Peer) -> None:
    # REAPI rule: empty blobs are always available, in each function.
    empty = every.digest(b"")
    assert every.has(empty)
    assert every.read(empty) == b""
    assert every.batch_read(empty)[0].status.code == 0


@pytest.mark.parametrize("size", [500, 30_000])
def test_bytes_of_another_blob_are_refused(every: Peer, size: int) -> None:
    # REAPI rule: the size is part of the digest; Git's function hashes it too.
    data = unique(size)
    for claimed, sent in (
        (every.digest(data), unique(size)),
        (reapi.Digest(hash=every.digest(data).hash, size_bytes=size - 1), data),
        (reapi.Digest(hash=every.digest(data).hash, size_bytes=size + 1), data),
        (reapi.Digest(hash=every.digest(data).hash, size_bytes=size - 1), data[:-1]),
    ):
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            every.write(every.write_name(claimed), sent)
        assert not every.has(claimed)
    assert not every.has(every.digest(data))


@pytest.mark.parametrize("functions", [(SHA256, SHA256TREE, BLAKE3), (SHA1, GITSHA1)])
@pytest.mark.parametrize("size", [1000, 30_000])
def test_functions_of_one_length_are_key_spaces_apart(
    peer: Peer, functions: tuple[reapi.DigestFunction.Value.ValueType, ...], size: int
) -> None:
    # REAPI rule: a hash of one function says nothing of a hash of another, though it be the same.
    for function in functions:
        data = unique(size)
        digest = peer.using(function).put_one(data)
        assert peer.using(function).has(digest)
        for other in set(functions) - {function}:
            assert not peer.using(other).has(digest)
            with refused(grpc.StatusCode.NOT_FOUND):
                peer.using(other).read(digest)
            if (size, function, other) not in {
                (1000, SHA256, SHA256TREE),
                (1000, SHA256TREE, SHA256),
            }:
                with refused(grpc.StatusCode.INVALID_ARGUMENT):
                    peer.using(other).write(peer.using(other).write_name(digest), data)


@pytest.mark.parametrize("function", sorted(set(ALL_FUNCTIONS) - NAMED), ids=name_of)
def test_a_function_with_a_length_of_its_own_need_not_be_named(
    peer: Peer, function: reapi.DigestFunction.Value.ValueType
) -> None:
    # REAPI rule: MD5, SHA1, SHA256, SHA384 and SHA512 follow from the length of a hash.
    data = unique()
    digest = peer.using(function).put_one(data)
    unnamed = peer.using(UNNAMED)
    assert not unnamed.find_missing(digest)
    assert unnamed.batch_read(digest)[0].data == data
    assert peer.using(function).read_name(digest) == f"blobs/{digest.hash}/{len(data)}"


@pytest.mark.parametrize("function", sorted(NAMED), ids=name_of)
def test_an_instance_may_have_a_function_whose_length_is_anothers(
    peer: Peer, function: reapi.DigestFunction.Value.ValueType
) -> None:
    # Buck2 rule: it names none. The instance's own function wins for its length alone.
    there = peer.at(name_of(function)).using(UNNAMED)
    data = unique(5000)
    digest = digest_of(data, function)
    name = f"{there.instance}/blobs/{digest.hash}/{len(data)}"
    assert there.write(name.replace("/blobs", "/uploads/u/blobs"), data) == len(data)
    assert b"".join(there.pieces(name)) == data
    assert not there.find_missing(digest)
    assert not peer.using(UNNAMED).has(digest)
    assert peer.using(function).read(digest) == data
    other = SHA1 if function != GITSHA1 else SHA256
    assert peer.using(other).put_one(data) not in there.find_missing(digest_of(data, other))


def test_actions_run_and_their_outputs_are_hashed_in_the_actions_function(every: Peer) -> None:
    # REAPI rule: an action and its result have one function.
    script = "head -c 5000 /dev/zero > zeros; echo once > small; mkdir d; echo in > d/file"
    action = put_script(every, script, "zeros", "small", "d")
    executed = every.execute(action)
    assert [each.digest_function for each in executed.metadata] == [every.function] * len(
        executed.metadata
    )
    outputs = {file.path: file.digest for file in executed.result.output_files}
    assert outputs["zeros"] == every.digest(bytes(5000))
    assert outputs_of(every, executed.result)["small"] == b"once\n"
    assert every.get_result(action).output_files == executed.result.output_files
