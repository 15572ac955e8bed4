from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import grpc
import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.blobs import BLAKE3, FUNCTIONS, SHA1, UNNAMED, digest_of, key, unique
from tests.protocol.peer import CALL_SECONDS, Peer, connected, refused
from tests.protocol.servers import Servers
from tests.protocol.test_capabilities import capabilities

SETTINGS = """
server.drain_seconds = 2
worker.enabled = false
chunking.max_chunks = 300
chunking.fast_cdc.average_bytes = 16384
chunking.fast_cdc.seed = 666
chunking.rep_max_cdc.min_bytes = 2048
chunking.rep_max_cdc.horizon_bytes = 16384

[instances.""]
[instances.blake3]
digest_function = "blake3"
"""
WHOLE_BELOW = 4 * 16384

Function: TypeAlias = "reapi.ChunkingFunction.Value.ValueType"
ANY = reapi.ChunkingFunction.UNKNOWN
FAST_CDC = reapi.ChunkingFunction.FAST_CDC_2020
REP_MAX_CDC = reapi.ChunkingFunction.REP_MAX_CDC
NOBODYS = reapi.ChunkingFunction.Value.ValueType(77)

# How the functions cut the start of `stream` with the parameters above, as the implementations
# say that tests/cas/chunking/test_cutters.py names.
FAST_CDC_CUTS = [15273, 26107, 19794, 18451, 27183, 17335, 27199, 15687, 21755, 11216]
REP_MAX_CDC_CUTS = [2445, 3501, 2816, 2905, 2224, 2545, 2563, 2685, 3922, 2092, 2302]


def stream(size: int, seed: bytes = b"holdfast") -> bytes:
    return hashlib.shake_128(seed).digest(size)


def split(peer: Peer, blob: reapi.Digest, function: Function = ANY) -> reapi.SplitBlobResponse:
    request = reapi.SplitBlobRequest(
        instance_name=peer.instance,
        blob_digest=blob,
        digest_function=peer.function,
        chunking_function=function,
    )
    return peer.cas.SplitBlob(request, timeout=CALL_SECONDS)


def splice(
    peer: Peer,
    blob: reapi.Digest,
    chunks: Sequence[reapi.Digest],
    function: Function = ANY,
) -> reapi.Digest:
    request = reapi.SpliceBlobRequest(
        instance_name=peer.instance,
        blob_digest=blob,
        chunk_digests=chunks,
        digest_function=peer.function,
        chunking_function=function,
    )
    return peer.cas.SpliceBlob(request, timeout=CALL_SECONDS).blob_digest


def joined(peer: Peer, chunks: Sequence[reapi.Digest]) -> bytes:
    return b"".join(entry.data for chunk in chunks for entry in peer.batch_read(chunk))


def sizes(answer: reapi.SplitBlobResponse) -> list[int]:
    return [chunk.size_bytes for chunk in answer.chunk_digests]


def parts(*numbers: int) -> list[bytes]:
    return [unique(number) for number in numbers]


# Capabilities


def test_both_calls_and_the_parameters_are_announced(peer: Peer) -> None:
    cache = capabilities(peer).cache_capabilities
    assert cache.split_blob_support
    assert cache.splice_blob_support
    assert cache.fast_cdc_2020_params.avg_chunk_size_bytes == 16384
    assert cache.fast_cdc_2020_params.seed == 666
    assert cache.rep_max_cdc_params.min_chunk_size_bytes == 2048
    assert cache.rep_max_cdc_params.horizon_size_bytes == 16384


def test_what_is_turned_off_is_neither_announced_nor_served(servers: Servers) -> None:
    # REAPI rule: what is announced is served, and nothing else is announced.
    settings = "server.drain_seconds = 2\nworker.enabled = false\nchunking.enabled = false\n"
    with connected(servers.get(settings).grpc) as peer:
        cache = capabilities(peer).cache_capabilities
        assert not cache.split_blob_support
        assert not cache.splice_blob_support
        assert not cache.HasField("fast_cdc_2020_params")
        assert not cache.HasField("rep_max_cdc_params")
        blob = peer.put_one(unique())
        with refused(grpc.StatusCode.UNIMPLEMENTED):
            split(peer, blob)
        with refused(grpc.StatusCode.UNIMPLEMENTED):
            splice(peer, blob, [blob])


# SplitBlob


def test_chunks_are_there_and_joined_are_the_blob(each: Peer) -> None:
    # REAPI rules: the two guarantees of SplitBlob; the request's digest function names the chunks.
    blob = each.put_one(data := unique(400_000))
    answer = split(each, blob)
    assert len(answer.chunk_digests) > 5
    assert answer.chunking_function == FAST_CDC
    assert each.find_missing(*answer.chunk_digests) == []
    assert joined(each, answer.chunk_digests) == data
    assert split(each, blob) == answer


@pytest.mark.parametrize(
    ("function", "cuts"), [(FAST_CDC, FAST_CDC_CUTS), (REP_MAX_CDC, REP_MAX_CDC_CUTS)]
)
def test_cuts_are_those_that_a_client_makes_with_what_is_announced(
    peer: Peer, function: Function, cuts: list[int]
) -> None:
    answer = split(peer, peer.put_one(stream(sum(cuts))), function)
    assert answer.chunking_function == function
    assert sizes(answer) == cuts


@pytest.mark.parametrize("function", [ANY, NOBODYS], ids=str)
def test_without_a_function_that_is_offered_the_server_chooses_and_says_which(
    peer: Peer, function: Function
) -> None:
    # REAPI rules: UNKNOWN is always accepted; the server may use another function than is asked.
    answer = split(peer, peer.put_one(stream(sum(FAST_CDC_CUTS))), function)
    assert answer.chunking_function == FAST_CDC
    assert sizes(answer) == FAST_CDC_CUTS


def test_similar_blobs_share_their_chunks(peer: Peer) -> None:
    before = unique(700_000)
    after = before[:300_000] + b"a line more" + before[300_000:]
    old, new = (split(peer, peer.put_one(data)).chunk_digests for data in (before, after))
    assert len(set(map(key, new)) - set(map(key, old))) <= 3


@pytest.mark.parametrize("function", [ANY, FAST_CDC])
@pytest.mark.parametrize("size", [0, 1, WHOLE_BELOW - 1])
def test_a_small_blob_is_its_own_only_chunk(each: Peer, size: int, function: Function) -> None:
    # REAPI rules: blobs below the largest chunk's size stay whole; the empty one is always there.
    blob = each.put_one(unique(size))
    answer = split(each, blob, function)
    assert list(answer.chunk_digests) == [blob]
    assert answer.chunking_function == FAST_CDC
    assert each.has(blob)


def test_a_blob_of_which_all_is_one_chunk_is_that_chunk(peer: Peer) -> None:
    blob = peer.put_one(bytes(WHOLE_BELOW))
    assert list(split(peer, blob).chunk_digests) == [blob]
    blob = peer.put_one(unique(2 * 2048 - 1))
    assert list(split(peer, blob, REP_MAX_CDC).chunk_digests) == [blob]


def test_a_blob_that_may_have_too_many_chunks_stays_whole(peer: Peer) -> None:
    blob = peer.put_one(unique(300 * 2048 + 1))
    assert len(split(peer, blob, FAST_CDC).chunk_digests) > 1
    answer = split(peer, blob, REP_MAX_CDC)
    assert list(answer.chunk_digests) == [blob]
    assert answer.chunking_function == ANY


def test_what_is_not_there_cannot_be_split(each: Peer) -> None:
    # REAPI rule: NOT_FOUND where the blob is not in the CAS.
    for size in (100, 1_000_000):
        absent = each.digest(unique(size))
        with refused(grpc.StatusCode.NOT_FOUND, naming=absent.hash):
            split(each, absent)


def test_a_request_that_names_no_blob_is_refused_by_its_field(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="blob_digest"):
        peer.cas.SplitBlob(reapi.SplitBlobRequest(), timeout=CALL_SECONDS)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="blob_digest"):
        split(peer, reapi.Digest(hash="x" * 64, size_bytes=1))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="size_bytes"):
        split(peer, reapi.Digest(hash=peer.digest(b"x").hash, size_bytes=-1))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest_function"):
        split(peer.using(reapi.DigestFunction.Value.ValueType(99)), peer.digest(b"x"))
    with refused(grpc.StatusCode.NOT_FOUND, naming="nobody/here"):
        split(peer.at("nobody/here"), peer.digest(b"x"))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_a_digest_function_it_follows_from_the_hash_and_the_instance(
    peer: Peer, function: reapi.DigestFunction.Value.ValueType
) -> None:
    # REAPI rule: a client may leave digest_function out of both requests.
    named = peer.at("blake3" if function == BLAKE3 else "").using(function)
    data = unique(200_000)
    chunks = split(named.using(UNNAMED), named.put_one(data)).chunk_digests
    assert joined(named, chunks) == data
    halves = named.put(*(new := parts(300, 500)))
    blob = named.digest(b"".join(new))
    assert splice(named.using(UNNAMED), blob, halves) == blob
    assert named.read(blob) == b"".join(new)


def test_calls_for_one_blob_at_one_time_are_answered_alike(peer: Peer) -> None:
    blob = peer.put_one(unique(900_000))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: split(peer, blob), range(8)))
    assert all(answer == answers[0] for answer in answers)


# SpliceBlob


def test_chunks_become_the_blob(each: Peer) -> None:
    whole = parts(1000, 70_000, 1)
    blob = each.digest(b"".join(whole))
    assert not each.has(blob)
    assert splice(each, blob, each.put(*whole)) == blob
    assert each.read(blob) == b"".join(whole)


def test_chunks_may_be_repeated_empty_and_spliced_themselves(peer: Peer) -> None:
    first, second = parts(40_000, 50_000)
    inner = peer.digest(first + second)
    one, two = peer.put(first, second)
    splice(peer, inner, [one, two])
    data = first + first + first + second + first
    outer = peer.digest(data)
    splice(peer, outer, [one, one, peer.digest(b""), inner, one])
    assert peer.read(outer) == data


def test_a_blob_of_one_chunk_and_the_empty_blob_are_there_already(each: Peer) -> None:
    blob, empty = each.put_one(unique()), each.digest(b"")
    assert splice(each, blob, [blob]) == blob
    assert splice(each, empty, []) == empty
    assert splice(each, empty, [empty, empty]) == empty


@pytest.mark.parametrize("function", [ANY, FAST_CDC, REP_MAX_CDC, NOBODYS], ids=str)
def test_any_chunking_function_is_accepted_whatever_was_really_done(
    peer: Peer, function: Function
) -> None:
    # REAPI rule: UNKNOWN must always be accepted; what is verified is that chunks are the blob.
    whole = parts(5, 2_000_000, 7, 9)
    blob = peer.digest(b"".join(whole))
    splice(peer, blob, peer.put(*whole), function)
    assert peer.read(blob) == b"".join(whole)
    answer = split(peer, blob, FAST_CDC)
    assert answer.chunking_function == ANY  # it may have too many chunks, and stays whole
    assert list(answer.chunk_digests) == [blob]


@pytest.mark.parametrize("function", [FAST_CDC, REP_MAX_CDC])
def test_what_a_client_spliced_is_split_in_the_same_way(peer: Peer, function: Function) -> None:
    other = peer.using(SHA1)
    data = unique(60 * 2048)
    chunks = split(other, other.put_one(data), function).chunk_digests
    cut = [other.batch_read(chunk)[0].data for chunk in chunks]
    blob = peer.digest(data)
    named = peer.put(*cut)
    splice(peer, blob, named, function)
    answer = split(peer, blob, function)
    assert answer.chunking_function == function
    assert list(answer.chunk_digests) == named


def test_a_clients_own_way_to_cut_is_told_to_who_names_no_function(peer: Peer) -> None:
    # REAPI rule: clients that share a function of their own name none.
    whole = parts(*[21_000] * 50)
    blob, named = peer.digest(b"".join(whole)), peer.put(*whole)
    splice(peer, blob, named)
    answer = split(peer, blob)
    assert answer.chunking_function == ANY
    assert list(answer.chunk_digests) == named
    assert joined(peer, split(peer, blob, FAST_CDC).chunk_digests) == b"".join(whole)


def test_chunks_that_are_not_the_blob_are_refused_and_nothing_is_kept(each: Peer) -> None:
    # REAPI rule: the digest of what was put together is verified; INVALID_ARGUMENT if it differs.
    for size in (100, 300_000):
        first, second = each.put(*(data := parts(size, size)))
        blob = each.digest(b"".join(data))
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=blob.hash):
            splice(each, blob, [second, first])
        assert each.find_missing(blob) == [blob]
        assert each.find_missing(first, second) == []


def test_missing_chunks_are_named(each: Peer) -> None:
    # REAPI rule: NOT_FOUND where at least one of the chunks is not in the CAS.
    data = parts(100, 200, 300)
    blob, chunks = each.digest(b"".join(data)), [each.digest(part) for part in data]
    each.put(data[1])
    with refused(grpc.StatusCode.NOT_FOUND, naming=chunks[0].hash) as caught:
        splice(each, blob, chunks)
    said = caught.value.details() or ""
    assert chunks[2].hash in said
    assert chunks[1].hash not in said
    assert each.find_missing(blob) == [blob]


def test_of_very_many_missing_chunks_the_first_are_named_and_the_rest_counted(peer: Peer) -> None:
    chunks = [peer.digest(unique(10)) for _ in range(60)]
    blob = reapi.Digest(hash=peer.digest(unique()).hash, size_bytes=600)
    with refused(grpc.StatusCode.NOT_FOUND, naming="60 chunks are not in the store") as caught:
        splice(peer, blob, chunks)
    said = caught.value.details() or ""
    assert said.endswith(" more")
    assert sum(chunk.hash in said for chunk in chunks) > 20


def test_chunks_whose_sizes_cannot_be_the_blobs_are_refused_before_they_are_looked_for(
    peer: Peer,
) -> None:
    absent = peer.digest(unique(10))
    for size in (9, 11):
        blob = reapi.Digest(hash=peer.digest(unique()).hash, size_bytes=size)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="chunk_digests: the chunks have 10"):
            splice(peer, blob, [absent])
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="chunk_digests: the chunks have 0"):
        splice(peer, peer.put_one(unique()), [])


def test_a_blob_that_is_there_needs_no_chunks(each: Peer) -> None:
    # REAPI rule: a request may be a no-op if the blob is in the CAS.
    data = parts(100, 200)
    blob = each.put_one(b"".join(data))
    assert splice(each, blob, [each.digest(part) for part in data]) == blob
    assert splice(each, blob, each.put(*data)) == blob
    assert each.read(blob) == b"".join(data)


def test_too_many_chunks_are_refused_with_the_bound(peer: Peer) -> None:
    chunk = peer.put_one(data := unique(10))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="chunking.max_chunks = 300"):
        splice(peer, peer.digest(data * 301), [chunk] * 301)
    splice(peer, peer.digest(data * 300), [chunk] * 300)


def test_a_splice_that_names_nothing_is_refused_by_its_field(peer: Peer) -> None:
    # REAPI rule: the client must set blob_digest.
    chunk = peer.put_one(unique())
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="blob_digest"):
        peer.cas.SpliceBlob(reapi.SpliceBlobRequest(chunk_digests=[chunk]), timeout=CALL_SECONDS)
    blob = peer.digest(unique())
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="chunk_digests[1]"):
        splice(peer, blob, [chunk, reapi.Digest(hash="0", size_bytes=0)])
    with refused(grpc.StatusCode.NOT_FOUND, naming="nobody/here"):
        splice(peer.at("nobody/here"), blob, [chunk])


def test_chunks_are_named_by_the_function_of_the_blob(peer: Peer) -> None:
    # REAPI rule: the server uses one digest function for both.
    data = unique()
    chunk = peer.using(SHA1).put_one(data)
    blob = peer.digest(data + data)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="chunk_digests[0]"):
        splice(peer.using(UNNAMED), blob, [chunk, chunk])
    peer.using(BLAKE3).put_one(data)
    with refused(grpc.StatusCode.NOT_FOUND):
        splice(peer, blob, [digest_of(data, BLAKE3)] * 2)
