"""SplitBlob."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.chunking import FUNCTION, announced_chunking, split, split_request
from conformance.digests import key
from conformance.fastcdc import chunk_sizes
from conformance.raw import numbered
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Target, unique
from conformance.violation import NotApplicable, expect, refused
from protos import remote_execution_pb2 as reapi

check = Section("chunking", (needs.cache,))

SPLITTING = [needs.splitting]
LARGE_BYTES = 9 << 20  # more than four times the largest average size of chunks
SLOW_SECONDS = 60.0


async def _expect_whole(target: Target, data: bytes, chunks: Sequence[reapi.Digest]) -> None:
    joined = b"".join([await target.fetch(chunk) for chunk in chunks])
    expect(joined == data, f"the chunks are {len(joined)} other bytes than the blob's {len(data)}")


@check(
    MUST,
    "Chunks of SplitBlob, one behind the other, are the blob.",
    source="ContentAddressableStorage.SplitBlob, l.457-461",
    needs=SPLITTING,
)
async def chunks_are_the_blob(target: Target) -> None:
    data = unique(LARGE_BYTES)
    reply = await split(target, await target.put_one(data))
    await _expect_whole(target, data, reply.chunk_digests)


@check(
    MUST,
    "Chunks that SplitBlob names are in the CAS.",
    source="ContentAddressableStorage.SplitBlob, l.457-458",
    needs=SPLITTING,
)
async def chunks_are_stored(target: Target) -> None:
    reply = await split(target, await target.put_one(unique(LARGE_BYTES)))
    missing = await target.find_missing(*reply.chunk_digests)
    expect(not missing, f"{len(missing)} of {len(reply.chunk_digests)} chunks are missing")


@check(
    MUST,
    "SplitBlob of a blob that is not there is NOT_FOUND.",
    source="ContentAddressableStorage.SplitBlob, l.443-499",
    needs=SPLITTING,
)
async def absent_blobs_are_notsplit(target: Target) -> None:
    with refused(StatusCode.NOT_FOUND):
        request = split_request(target, target.digest(unique(LARGE_BYTES)))
        await target.call(methods.SPLIT_BLOB, request)


@check(
    MUST,
    "SplitBlob refuses a right hash with a wrong size.",
    source="Digest, l.1083-1085",
    needs=SPLITTING,
)
async def wrong_sizes_are_notsplit(target: Target) -> None:
    blob = await target.put_one(unique(LARGE_BYTES))
    wrong = reapi.Digest(hash=blob.hash, size_bytes=blob.size_bytes + 1)
    with refused():
        await target.call(methods.SPLIT_BLOB, split_request(target, wrong))


@check(
    MUST,
    "SplitBlob of a small blob gives its chunks, which may be the blob itself.",
    source="SplitBlobResponse.chunk_digests, l.1999-2005",
    needs=SPLITTING,
)
async def small_blobs_aresplit(target: Target) -> None:
    for data in (unique(1), unique(1000)):
        reply = await split(target, await target.put_one(data))
        await _expect_whole(target, data, reply.chunk_digests)


@check(
    MUST,
    "SplitBlob takes UNKNOWN and every announced chunking function, and may use another.",
    source="SplitBlobRequest.chunking_function, l.1990-1993; ChunkingFunction, l.2184-2202",
    needs=SPLITTING,
)
async def announced_functions_are_taken(target: Target) -> None:
    data = unique(LARGE_BYTES)
    blob = await target.put_one(data)
    for function in announced_chunking(target):
        reply = await split(target, blob, function)
        await _expect_whole(target, data, reply.chunk_digests)


@check(
    SHOULD,
    "Chunks that are said to be cut by FastCDC 2020 are cut where it cuts, by the announced "
    "average size and seed.",
    source="FastCdc2020Params, l.2351-2383",
    needs=[needs.splitting, needs.fast_cdc],
    seconds=SLOW_SECONDS,
)
async def fast_cdc_cuts_where_it_should(target: Target) -> None:
    parameters = target.cache.fast_cdc_2020_params
    average = parameters.avg_chunk_size_bytes
    if average & (average - 1):
        raise NotApplicable(f"the average size {average} is no power of two")
    data = unique(5 * average)
    reply = await split(target, await target.put_one(data), FUNCTION.FAST_CDC_2020)
    if reply.chunking_function != FUNCTION.FAST_CDC_2020:
        raise NotApplicable("the server split the blob by another function")
    sizes = [chunk.size_bytes for chunk in reply.chunk_digests]
    wanted = chunk_sizes(data, average, parameters.seed)
    expect(sizes == wanted, f"chunks of {sizes} bytes, where FastCDC makes {wanted}")


@check(
    MUST,
    "Chunks that are said to be cut by RepMaxCDC are at least as large as announced, and less than "
    "twice that.",
    source="RepMaxCdcParams.min_chunk_size_bytes, l.2420-2424",
    needs=[needs.splitting, needs.rep_max_cdc],
)
async def rep_max_cdc_keeps_its_sizes(target: Target) -> None:
    least = target.cache.rep_max_cdc_params.min_chunk_size_bytes
    blob = await target.put_one(unique(10 * least))
    reply = await split(target, blob, FUNCTION.REP_MAX_CDC)
    if reply.chunking_function != FUNCTION.REP_MAX_CDC:
        raise NotApplicable("the server split the blob by another function")
    for chunk in reply.chunk_digests:
        said = f"a chunk has {chunk.size_bytes} bytes, where {least} is announced"
        expect(least <= chunk.size_bytes < 2 * least, said)


@check(
    SHOULD,
    "Blobs are split by what is in them: two that differ at their beginning share chunks.",
    source="ContentAddressableStorage.SplitBlob, l.452-454",
    needs=SPLITTING,
)
async def alike_blobs_share_chunks(target: Target) -> None:
    common = unique(LARGE_BYTES)
    first = await split(target, await target.put_one(common))
    second = await split(target, await target.put_one(unique(777) + common))
    shared = {key(each) for each in first.chunk_digests} & {
        key(each) for each in second.chunk_digests
    }
    expect(shared, "no chunk is shared by blobs that are nearly the same")


@check(
    SHOULD,
    "SplitBlob infers the digest function from the hash's length if it is not named.",
    source="SplitBlobRequest.digest_function, l.1981-1988",
    needs=SPLITTING,
)
async def splitting_needs_no_named_function(target: Target) -> None:
    if not target.function.inferred:
        raise NotApplicable(f"{target.function.name} has to be named")
    data = unique(LARGE_BYTES)
    blob = await target.put_one(data)
    await split(target, blob)
    request = reapi.SplitBlobRequest(instance_name=target.instance, blob_digest=blob)
    reply = await target.call(methods.SPLIT_BLOB, request)
    await _expect_whole(target, data, reply.chunk_digests)


@check(
    MUST,
    "A server that does not announce split_blob_support does not serve SplitBlob.",
    source="ContentAddressableStorage.SplitBlob, l.462-465",
    needs=[needs.no_splitting],
)
async def splitting_is_announced(target: Target) -> None:
    request = split_request(target, await target.put_one(unique()))
    with refused():
        await target.call(methods.SPLIT_BLOB, request)


@check(
    ROBUSTNESS,
    "SplitBlob of a chunking function that the protocol does not have is answered or refused.",
    source="SplitBlobRequest.chunking_function, l.1990-1993",
    needs=SPLITTING,
)
async def unknown_chunking_functions_do_no_harm(target: Target) -> None:
    request = split_request(target, await target.put_one(unique(LARGE_BYTES)))
    try:
        await target.call(methods.SPLIT_BLOB, request.SerializeToString() + numbered(4, 99))
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")


@check(
    ROBUSTNESS,
    "SplitBlob of the empty blob gives chunks that are nothing, or NOT_FOUND.",
    source="ContentAddressableStorage, l.342-344",
    needs=SPLITTING,
)
async def the_empty_blob_issplit(target: Target) -> None:
    reply = await split(target, target.digest(b""))
    await _expect_whole(target, b"", reply.chunk_digests)
