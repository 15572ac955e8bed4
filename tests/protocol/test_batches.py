from __future__ import annotations

from functools import partial

import grpc
import pytest
import zstandard
from google.rpc import code_pb2, status_pb2

from protos import remote_execution_pb2 as reapi
from tests.protocol.blobs import SHA256, UNNAMED, digest_of, key, unique
from tests.protocol.peer import CALL_SECONDS, Peer, Refusal, attempt, refused

IDENTITY, WITH_ZSTD = reapi.Compressor.IDENTITY, reapi.Compressor.ZSTD
UNTRUE_COMPRESSORS = (reapi.Compressor.DEFLATE, reapi.Compressor.BROTLI, 9)


def cache_capabilities(peer: Peer) -> reapi.CacheCapabilities:
    request = reapi.GetCapabilitiesRequest(instance_name=peer.instance)
    return peer.capabilities.GetCapabilities(request, timeout=CALL_SECONDS).cache_capabilities


def update(
    peer: Peer,
    *blobs: tuple[reapi.Digest, bytes],
    compressor: reapi.Compressor.Value.ValueType = IDENTITY,
) -> list[status_pb2.Status]:
    """Upload `blobs` as they are; return the status of each, in the order of `blobs`."""
    request = reapi.BatchUpdateBlobsRequest(
        instance_name=peer.instance, digest_function=peer.function
    )
    for digest, data in blobs:
        request.requests.add(digest=digest, data=data, compressor=compressor)
    responses = peer.cas.BatchUpdateBlobs(request, timeout=CALL_SECONDS).responses
    assert sorted(key(entry.digest) for entry in responses) == sorted(
        key(digest) for digest, _ in blobs
    )
    by_digest = {key(entry.digest): entry.status for entry in responses}
    return [by_digest[key(digest)] for digest, _ in blobs]


def read_statuses(peer: Peer, *digests: reapi.Digest) -> list[status_pb2.Status]:
    return [entry.status for entry in peer.batch_read(*digests)]


def codes(statuses: list[status_pb2.Status]) -> list[int]:
    return [status.code for status in statuses]


def test_a_batch_is_read_as_it_was_written(each: Peer) -> None:
    blobs = [unique(size) for size in (1, 100, 10_000, 100_000)]
    digests = each.put(*blobs)
    responses = each.batch_read(*digests)
    assert {key(entry.digest): entry.data for entry in responses} == {
        key(digest): data for digest, data in zip(digests, blobs, strict=True)
    }
    assert [entry.status.code for entry in responses] == [code_pb2.OK] * len(blobs)


def test_the_empty_blob_can_be_read_though_nobody_wrote_it(each: Peer) -> None:
    # REAPI rule: empty blobs are always available.
    (entry,) = each.batch_read(each.digest(b""))
    assert entry.status.code == code_pb2.OK
    assert entry.data == b""


def test_the_empty_blob_can_be_written(each: Peer) -> None:
    assert codes(update(each, (each.digest(b""), b""))) == [code_pb2.OK]


def test_a_blob_written_again_is_no_error(each: Peer) -> None:
    # Buck2 rule: any status but OK, ALREADY_EXISTS included, fails the upload.
    data = unique()
    digest = each.digest(data)
    assert codes(update(each, (digest, data))) == [code_pb2.OK]
    assert codes(update(each, (digest, data))) == [code_pb2.OK]


def test_a_blob_that_stands_twice_in_a_batch_is_no_error(each: Peer) -> None:
    # REAPI rule: there is one reply for each request.
    data = unique()
    digest = each.digest(data)
    assert codes(update(each, (digest, data), (digest, data))) == [code_pb2.OK] * 2
    assert each.has(digest)


def test_a_digest_read_twice_is_answered_twice(each: Peer) -> None:
    # Buck2 rule: duplicate digests in one BatchReadBlobs are usual.
    data = unique()
    digest = each.put_one(data)
    assert [entry.data for entry in each.batch_read(digest, digest, digest)] == [data] * 3


def test_a_missing_blob_fails_alone(each: Peer) -> None:
    # REAPI rule: errors of single blobs are in their statuses; the call succeeds.
    data = unique()
    present, absent = each.put_one(data), each.digest(unique())
    replies = {key(entry.digest): entry for entry in each.batch_read(absent, present)}
    assert len(replies) == 2
    missing, found = replies[key(absent)], replies[key(present)]
    assert (missing.status.code, missing.data) == (code_pb2.NOT_FOUND, b"")
    assert absent.hash in missing.status.message
    assert (found.status.code, found.data) == (code_pb2.OK, data)


def test_bytes_that_are_not_the_digests_are_refused_alone(each: Peer) -> None:
    # REAPI rule: a digest that does not match is INVALID_ARGUMENT, for that blob.
    good, wrong = unique(), unique()
    claimed = each.digest(wrong)
    statuses = update(each, (each.digest(good), good), (claimed, unique()))
    assert codes(statuses) == [code_pb2.OK, code_pb2.INVALID_ARGUMENT]
    assert claimed.hash in statuses[1].message
    assert each.has(each.digest(good))
    assert not each.has(claimed)


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_right_hash_with_a_wrong_size_is_refused(each: Peer, difference: int) -> None:
    # REAPI rule: the size is part of the digest.
    data = unique()
    claimed = each.digest(data)
    claimed.size_bytes += difference
    assert codes(update(each, (claimed, data))) == [code_pb2.INVALID_ARGUMENT]
    assert not each.has(claimed)
    assert not each.has(each.digest(data))


def test_a_right_hash_with_a_wrong_size_is_not_found(each: Peer) -> None:
    digest = each.put_one(unique())
    digest.size_bytes += 1
    (entry,) = each.batch_read(digest)
    assert entry.status.code == code_pb2.NOT_FOUND


def test_a_malformed_digest_is_refused_for_the_blob_or_the_call(each: Peer) -> None:
    # REAPI rule: a hash is lowercase hexadecimal of the function's length.
    upper = each.digest(b"a letter or more").hash.upper()
    for digest in (
        reapi.Digest(hash="..", size_bytes=2),
        reapi.Digest(hash=upper, size_bytes=16),
        reapi.Digest(hash=upper.lower(), size_bytes=-1),
        reapi.Digest(),
    ):
        assert_invalid(attempt(partial(update, each, (digest, b"hi"))))
        assert_invalid(attempt(partial(read_statuses, each, digest)))


def assert_invalid(answer: list[status_pb2.Status] | Refusal) -> None:
    """Expect INVALID_ARGUMENT that names the digest, of the call or of its only blob."""
    if isinstance(answer, Refusal):
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "digest" in answer.message
    else:
        assert codes(answer) == [code_pb2.INVALID_ARGUMENT]
        assert "digest" in answer[0].message


def test_a_batch_at_the_limit_is_accepted_whatever_else_its_message_holds(peer: Peer) -> None:
    # Buck2 rule: batches are cut by the sizes of blobs alone, so messages are larger than that.
    limit = cache_capabilities(peer).max_batch_total_size_bytes
    blobs = [unique(limit // 4) for _ in range(4)]
    digests = peer.put(*blobs)
    assert sorted(entry.data for entry in peer.batch_read(*digests)) == sorted(blobs)


def test_a_batch_over_the_limit_is_refused_as_a_whole(peer: Peer) -> None:
    # REAPI rule: more than the limit in one call is INVALID_ARGUMENT.
    limit = cache_capabilities(peer).max_batch_total_size_bytes
    first, second = unique(limit // 2 + 1), unique(limit // 2 + 1)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="max_batch_total_size_bytes"):
        update(peer, (peer.digest(first), first), (peer.digest(second), second))
    assert not peer.has(peer.digest(first))
    digests = [*peer.put(first), *peer.put(second)]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="max_batch_total_size_bytes"):
        peer.batch_read(*digests)


def test_sizes_that_overflow_when_added_are_over_the_limit(peer: Peer) -> None:
    huge = reapi.Digest(hash=digest_of(b"x").hash, size_bytes=(1 << 63) - 1)
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        peer.batch_read(huge, huge, huge)


def test_a_claimed_size_does_not_count_as_bytes_sent(peer: Peer) -> None:
    huge = reapi.Digest(hash=digest_of(b"x").hash, size_bytes=(1 << 63) - 1)
    (status,) = update(peer, (huge, b"x"))
    assert status.code == code_pb2.INVALID_ARGUMENT


def test_no_blobs_are_no_error(each: Peer) -> None:
    assert update(each) == []
    assert list(each.batch_read()) == []


def test_without_a_function_the_length_of_the_hash_decides(peer: Peer) -> None:
    # REAPI rule: a function that is not named follows from the length of the hash.
    data = unique()
    unnamed = peer.using(UNNAMED)
    assert codes(update(unnamed, (digest_of(data, SHA256), data))) == [code_pb2.OK]
    (entry,) = unnamed.batch_read(digest_of(data, SHA256))
    assert entry.data == data


def test_replies_are_compressed_only_for_those_who_accept_it(each: Peer) -> None:
    # REAPI rule: a reply's compressor is identity or one that the request accepts.
    data = b"very compressible " * 5000
    digest = each.put_one(data)
    (plain,) = each.batch_read(digest)
    assert (plain.compressor, plain.data) == (IDENTITY, data)
    (entry,) = each.batch_read(digest, accept=[IDENTITY])
    assert (entry.compressor, entry.data) == (IDENTITY, data)
    (entry,) = each.batch_read(digest, accept=[WITH_ZSTD])
    assert entry.compressor in {IDENTITY, WITH_ZSTD}
    unpacked = (
        zstandard.ZstdDecompressor().decompress(entry.data, max_output_size=len(data))
        if entry.compressor == WITH_ZSTD
        else entry.data
    )
    assert unpacked == data


def test_a_missing_blob_has_no_compressor(each: Peer) -> None:
    # REAPI rule: a reply without data has compressor identity.
    (entry,) = each.batch_read(each.digest(unique()), accept=[WITH_ZSTD])
    assert (entry.status.code, entry.compressor) == (code_pb2.NOT_FOUND, IDENTITY)


def test_an_unknown_compressor_that_is_accepted_besides_does_no_harm(peer: Peer) -> None:
    data = unique()
    digest = peer.put_one(data)
    (entry,) = peer.batch_read(digest, accept=[reapi.Compressor.BROTLI])
    assert (entry.compressor, entry.data) == (IDENTITY, data)


def test_zstd_uploads_work_if_they_are_announced_and_are_refused_if_not(each: Peer) -> None:
    # REAPI rule: compressors of batch uploads are those of supported_batch_update_compressors.
    data = b"0123456789" * 1000
    packed = zstandard.ZstdCompressor().compress(data)
    announced = cache_capabilities(each).supported_batch_update_compressors
    expected = code_pb2.OK if WITH_ZSTD in announced else code_pb2.INVALID_ARGUMENT
    digest = each.digest(data)
    assert codes(update(each, (digest, packed), compressor=WITH_ZSTD)) == [expected]
    if expected == code_pb2.OK:
        assert each.read(digest) == data


@pytest.mark.parametrize("compressor", UNTRUE_COMPRESSORS)
def test_a_compressor_that_is_not_announced_is_refused_for_its_blob(
    peer: Peer, compressor: reapi.Compressor.Value.ValueType
) -> None:
    data = unique()
    (status,) = update(peer, (peer.digest(data), data), compressor=compressor)
    assert status.code in {code_pb2.INVALID_ARGUMENT, code_pb2.UNIMPLEMENTED}
    assert "compressor" in status.message
    assert not peer.has(peer.digest(data))
