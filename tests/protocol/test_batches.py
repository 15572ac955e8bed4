from __future__ import annotations

from functools import partial
from typing import cast

import grpc
import pytest
from google.rpc import code_pb2, status_pb2

from protos import remote_execution_pb2 as reapi
from tests.compressors import pack, unpack
from tests.protocol.blobs import SHA256, UNNAMED, digest_of, key, unique
from tests.protocol.peer import CALL_SECONDS, Peer, Refusal, attempt, refused

IDENTITY = reapi.Compressor.IDENTITY
UNKNOWN = cast("reapi.Compressor.Value.ValueType", 99)
COMPRESSORS = (reapi.Compressor.ZSTD, reapi.Compressor.DEFLATE, reapi.Compressor.BROTLI)


def name_of_compressor(number: reapi.Compressor.Value.ValueType) -> str:
    return reapi.Compressor.Value.Name(number).lower()


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
    by_digest: dict[tuple[str, int], list[status_pb2.Status]] = {}
    for entry in responses:
        by_digest.setdefault(key(entry.digest), []).append(entry.status)
    return [by_digest[key(digest)].pop(0) for digest, _ in blobs]


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


def test_a_blob_that_stands_twice_with_other_bytes_is_kept_or_refused_as_a_whole(
    peer: Peer,
) -> None:
    data = unique()
    digest = peer.digest(data)
    statuses = update(peer, (digest, data), (digest, unique()))
    assert codes(statuses) == [code_pb2.INVALID_ARGUMENT] * 2
    assert not peer.has(digest)


def test_thousands_are_read_as_few_are(each: Peer) -> None:
    # They are looked up a thousand at a time.
    blobs = {key(each.digest(data)): data for data in (unique(8) for _ in range(3))}
    present = each.put(*blobs.values())
    absent = [each.digest(b"absent %d" % number) for number in range(2500)]
    for accept in ((), (reapi.Compressor.ZSTD,)):
        replies = each.batch_read(*present[:1], *absent, *present[1:], accept=accept)
        assert {key(one.digest): one.data for one in replies if not one.status.code} == blobs
        assert sum(one.status.code == code_pb2.NOT_FOUND for one in replies) == len(absent)


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
    for accept in ([], [IDENTITY], [UNKNOWN], [UNKNOWN, IDENTITY]):
        (plain,) = each.batch_read(digest, accept=accept)
        assert (plain.compressor, plain.data) == (IDENTITY, data)
    for number in COMPRESSORS:
        (entry,) = each.batch_read(digest, accept=[UNKNOWN, number])
        assert entry.compressor == number
        assert len(entry.data) < 1000
        assert unpack(name_of_compressor(number), entry.data) == data


def test_of_several_that_are_accepted_zstd_is_used(peer: Peer) -> None:
    digest = peer.put_one(b"very compressible " * 50)
    for accept in (COMPRESSORS, COMPRESSORS[::-1]):
        (entry,) = peer.batch_read(digest, accept=accept)
        assert entry.compressor == reapi.Compressor.ZSTD


def test_what_does_not_get_smaller_is_sent_as_it_is(peer: Peer) -> None:
    blobs = [b"", b"tiny" * 50, unique(5000)]
    for entry, data in zip(
        peer.batch_read(*peer.put(*blobs), accept=COMPRESSORS), blobs, strict=True
    ):
        assert (entry.status.code, entry.compressor, entry.data) == (code_pb2.OK, IDENTITY, data)


def test_a_missing_blob_has_no_compressor(peer: Peer) -> None:
    # REAPI rule: a reply without data has compressor identity.
    there, absent = peer.put_one(b"a" * 1000), peer.digest(unique())
    entries = {key(entry.digest): entry for entry in peer.batch_read(absent, there, there, accept=COMPRESSORS)}  # fmt: skip  # noqa: E501
    missing = entries[key(absent)]
    assert (missing.status.code, missing.compressor) == (code_pb2.NOT_FOUND, IDENTITY)
    assert entries[key(there)].compressor == reapi.Compressor.ZSTD


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=name_of_compressor)
def test_uploads_in_every_announced_compressor_are_kept(
    peer: Peer, compressor: reapi.Compressor.Value.ValueType
) -> None:
    # REAPI rule: compressors of batch uploads are those of supported_batch_update_compressors.
    assert compressor in cache_capabilities(peer).supported_batch_update_compressors
    name = name_of_compressor(compressor)
    blobs = [unique(50) * 200, unique(100), b""]
    sent = [(peer.digest(data), pack(name, data)) for data in blobs]
    for _ in range(2):  # the second time they are there
        assert codes(update(peer, *sent, compressor=compressor)) == [code_pb2.OK] * 3
    for (digest, _), data in zip(sent, blobs, strict=True):
        assert peer.read(digest) == data


def test_each_blob_of_a_batch_has_a_compressor_of_its_own(peer: Peer) -> None:
    request = reapi.BatchUpdateBlobsRequest()
    blobs = [unique(50) * 20 for _ in range(8)]
    for data, number in zip(blobs, (*COMPRESSORS, IDENTITY) * 2, strict=True):
        packed = pack(name_of_compressor(number), data) if number else data
        request.requests.add(digest=peer.digest(data), data=packed, compressor=number)
    responses = peer.cas.BatchUpdateBlobs(request, timeout=CALL_SECONDS).responses
    assert [entry.status.code for entry in responses] == [code_pb2.OK] * 8
    assert [peer.read(peer.digest(data)) for data in blobs] == blobs


@pytest.mark.parametrize("compressor", COMPRESSORS, ids=name_of_compressor)
def test_compressed_bytes_that_are_not_the_blobs_are_refused_alone(
    peer: Peer, compressor: reapi.Compressor.Value.ValueType
) -> None:
    name = name_of_compressor(compressor)
    good, wanted = unique(), b"a" * 100
    whole = pack(name, bytes(range(100)))
    for wrong in (
        b"garbage", b"", wanted, whole, whole[:-1], pack(name, wanted) + b"more",
        pack(name, b"a" * 99), pack(name, b"a" * 101), pack(name, bytes(10_000_000)),
    ):  # fmt: skip
        statuses = update(
            peer, (peer.digest(good), pack(name, good)), (peer.digest(wanted), wrong),
            compressor=compressor,
        )  # fmt: skip
        assert codes(statuses) == [code_pb2.OK, code_pb2.INVALID_ARGUMENT]
        assert not peer.has(peer.digest(wanted))
    assert peer.read(peer.digest(good)) == good


def test_the_limit_counts_uncompressed_bytes(peer: Peer) -> None:
    # REAPI rule: max_batch_total_size_bytes bounds the blobs, not what they are sent as.
    limit = cache_capabilities(peer).max_batch_total_size_bytes
    fits, too_much = bytes(limit // 2), bytes(limit // 2 + 1)
    sent = [(peer.digest(data), pack("zstd", data)) for data in (fits, too_much)]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="max_batch_total_size_bytes"):
        update(peer, *sent, compressor=reapi.Compressor.ZSTD)
    assert not peer.has(peer.digest(fits))
    assert codes(update(peer, sent[0], compressor=reapi.Compressor.ZSTD)) == [code_pb2.OK]


@pytest.mark.parametrize("compressor", [9, -1])
def test_a_compressor_that_is_not_announced_is_refused_for_its_blob(
    peer: Peer, compressor: reapi.Compressor.Value.ValueType
) -> None:
    data = unique()
    (status,) = update(peer, (peer.digest(data), data), compressor=compressor)
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert "requests[0].compressor" in status.message
    assert not peer.has(peer.digest(data))
