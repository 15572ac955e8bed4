"""BatchUpdateBlobs."""

from __future__ import annotations

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.compressing import zstd
from conformance.digests import key
from conformance.raw import delimited, numbered
from conformance.refusal import BAD_INPUT, CODES, Refused
from conformance.target import Target, unique
from conformance.violation import NotApplicable, expect
from protos import remote_execution_pb2 as reapi

check = Section("cas", (needs.cache,))

UNKNOWN_VALUE = 99  # of an enum
MAX_SENT_BYTES = 64 << 20  # of a batch that is as large as a server says it may be


async def _codes(
    target: Target, *blobs: tuple[reapi.Digest, bytes]
) -> dict[tuple[str, int], StatusCode]:
    """Upload `blobs` under what they are called here; return what became of each."""
    reply = await target.call(methods.BATCH_UPDATE, target.batch_update(*blobs))
    return {key(entry.digest): CODES[entry.status.code] for entry in reply.responses}


@check(
    MUST,
    "BatchUpdateBlobs answers each blob of a request under its digest, and stores it.",
    source="BatchUpdateBlobsResponse, l.1849-1851",
)
async def each_upload_is_answered(target: Target) -> None:
    blobs = [unique(), unique(1), unique(3000)]
    request = target.batch_update(*((target.digest(data), data) for data in blobs))
    reply = await target.call(methods.BATCH_UPDATE, request)
    answered = sorted(key(entry.digest) for entry in reply.responses)
    expect(answered == sorted(key(target.digest(data)) for data in blobs),
           "not each digest of the request is answered once")  # fmt: skip
    for entry in reply.responses:
        expect(not entry.status.code, f"an upload ended with code {entry.status.code}")
    for data in blobs:
        expect(await target.fetch(target.digest(data)) == data, "other bytes are read")


@check(
    MUST,
    "BatchUpdateBlobs refuses data that do not hash to their digest with INVALID_ARGUMENT, and "
    "stores them under neither name.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
)
async def a_wrong_hash_is_refused(target: Target) -> None:
    data, other = unique(), unique()
    named = target.digest(other)
    try:
        code = (await _codes(target, (named, data)))[key(named)]
    except Refused as error:
        code = error.code
    expect(code == StatusCode.INVALID_ARGUMENT, f"{code.name} was answered")
    expect(not await target.has(named), "there is a blob under the wrong digest now")


@check(
    MUST,
    "BatchUpdateBlobs refuses a right hash with a wrong size with INVALID_ARGUMENT.",
    source="Digest, l.1083-1085; ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
)
async def a_wrong_size_is_refused(target: Target) -> None:
    for change in (1, -1, 100):
        data = unique()
        right = target.digest(data)
        wrong = reapi.Digest(hash=right.hash, size_bytes=right.size_bytes + change)
        try:
            code = (await _codes(target, (wrong, data)))[key(wrong)]
        except Refused as error:
            code = error.code
        said = f"{code.name} was answered to {len(data)} bytes with the size {wrong.size_bytes}"
        expect(code == StatusCode.INVALID_ARGUMENT, said)
        expect(not await target.has(wrong), "there is a blob under the wrong size now")


@check(
    SHOULD,
    "BatchUpdateBlobs: one blob that does not match leaves the others of the batch alone.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.376-378",
)
async def uploads_fail_one_by_one(target: Target) -> None:
    good, bad = unique(), unique()
    wrong = target.digest(unique())
    codes = await _codes(target, (target.digest(good), good), (wrong, bad))
    expect(codes.get(key(wrong)) != StatusCode.OK, "the bad one was not refused")
    expect(codes.get(key(target.digest(good))) == StatusCode.OK, "the good one was refused too")
    expect(await target.has(target.digest(good)), "the good one was not stored")


@check(
    MUST,
    "BatchUpdateBlobs of a blob that is there already succeeds.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
)
async def an_upload_may_be_repeated(target: Target) -> None:
    data = unique()
    digest = await target.put_one(data)
    code = (await _codes(target, (digest, data)))[key(digest)]
    expect(code == StatusCode.OK, f"{code.name} was answered to the second upload")


@check(
    MUST,
    "BatchUpdateBlobs takes a blob that stands twice in one request.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
)
async def an_upload_may_stand_twice_in_a_batch(target: Target) -> None:
    data = unique()
    digest = target.digest(data)
    reply = await target.call(
        methods.BATCH_UPDATE, target.batch_update((digest, data), (digest, data))
    )
    codes = {entry.status.code for entry in reply.responses}
    expect(codes == {0}, f"codes {codes} were answered")
    expect(await target.has(digest), "it was not stored")


@check(
    MUST,
    "BatchUpdateBlobs takes the empty blob.",
    source="ContentAddressableStorage, l.342-344",
)
async def the_empty_blob_can_be_uploaded(target: Target) -> None:
    empty = target.digest(b"")
    code = (await _codes(target, (empty, b"")))[key(empty)]
    expect(code == StatusCode.OK, f"{code.name} was answered")


@check(
    MUST,
    "BatchUpdateBlobs with data under the digest of the empty blob is INVALID_ARGUMENT, or OK as "
    "for a blob that is there already; the empty blob stays empty.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
)
async def the_empty_blob_has_no_data(target: Target) -> None:
    empty = target.digest(b"")
    try:
        code = (await _codes(target, (empty, b"data")))[key(empty)]
    except Refused as error:
        code = error.code
    allowed = {StatusCode.OK, StatusCode.INVALID_ARGUMENT}
    expect(code in allowed, f"{code.name} was answered")
    for entry in await target.batch_read(empty):
        expect(not entry.data, "the empty blob has bytes now")


@check(
    SHOULD,
    "BatchUpdateBlobs without blobs is answered with none.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
)
async def an_empty_batch_is_fine(target: Target) -> None:
    reply = await target.call(methods.BATCH_UPDATE, target.batch_update())
    expect(not reply.responses, "uploads are answered that were not asked for")


@check(
    MUST,
    "BatchUpdateBlobs takes as many bytes as max_batch_total_size_bytes says.",
    source="CacheCapabilities.max_batch_total_size_bytes, l.2295-2299",
    needs=[needs.batch_limit],
)
async def a_full_batch_can_be_uploaded(target: Target) -> None:
    limit = target.cache.max_batch_total_size_bytes
    if limit > MAX_SENT_BYTES:
        raise NotApplicable(f"max_batch_total_size_bytes is more than is tried: {limit}")
    data = unique(limit)
    codes = await _codes(target, (target.digest(data), data))
    expect(set(codes.values()) == {StatusCode.OK}, f"answered: {codes.values()}")


@check(
    MUST,
    "BatchUpdateBlobs over max_batch_total_size_bytes is INVALID_ARGUMENT, if it is enforced at "
    "all; gRPC itself may say RESOURCE_EXHAUSTED before.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-371 and l.382-383",
    needs=[needs.batch_limit],
)
async def a_larger_batch_is_refused(target: Target) -> None:
    limit = target.cache.max_batch_total_size_bytes
    if limit > MAX_SENT_BYTES:
        raise NotApplicable(f"max_batch_total_size_bytes is more than is tried: {limit}")
    halves = [unique(limit // 2 + 1), unique(limit // 2 + 1)]
    try:
        codes = await _codes(target, *((target.digest(data), data) for data in halves))
    except Refused as error:
        allowed = {StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED}
        expect(error.code in allowed, f"{error.code.name} was answered")
        return
    for code in codes.values():
        enforced = code in {StatusCode.OK, StatusCode.INVALID_ARGUMENT}
        expect(enforced, f"{code.name} was answered for a blob of the batch")


@check(
    SHOULD,
    "BatchUpdateBlobs infers the digest function from the hash's length if it is not named.",
    source="BatchUpdateBlobsRequest.digest_function, l.1838-1846",
)
async def uploads_need_no_named_function(target: Target) -> None:
    if not target.function.inferred:
        raise NotApplicable(f"{target.function.name} has to be named")
    data = unique()
    request = reapi.BatchUpdateBlobsRequest(instance_name=target.instance)
    request.requests.add(digest=target.digest(data), data=data)
    reply = await target.call(methods.BATCH_UPDATE, request)
    expect([entry.status.code for entry in reply.responses] == [0], "the upload was refused")
    expect(await target.has(target.digest(data)), "it is not found with the function named")


@check(
    MUST,
    "BatchUpdateBlobs never keeps compressed bytes under an uncompressed name: a compressor is "
    "understood or refused.",
    source="BatchUpdateBlobsRequest.Request.compressor, l.1821-1825",
)
async def a_compressor_is_understood_or_refused(target: Target) -> None:
    data = unique() * 10
    digest = target.digest(data)
    request = target.batch_update()
    request.requests.add(
        digest=digest,
        data=zstd(data),
        compressor=reapi.Compressor.ZSTD,
    )
    try:
        reply = await target.call(methods.BATCH_UPDATE, request)
    except Refused:
        return
    if not any(entry.status.code for entry in reply.responses):
        expect(await target.fetch(digest) == data, "other bytes are read than were compressed")


@check(
    ROBUSTNESS,
    "BatchUpdateBlobs refuses a compressor that the protocol does not have, or takes the bytes as "
    "they are.",
    source="BatchUpdateBlobsRequest.Request.compressor, l.1821-1825",
)
async def an_unknown_compressor_is_refused(target: Target) -> None:
    data = unique()
    request = target.batch_update()
    request.requests.add(digest=target.digest(data), data=data)
    entry = request.requests.pop().SerializeToString()
    raw = request.SerializeToString() + delimited(2, entry + numbered(3, UNKNOWN_VALUE))
    try:
        reply = await target.call(methods.BATCH_UPDATE, raw)
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    expect(len(reply.responses) == 1, f"{len(reply.responses)} responses to 1 blob")
    code = CODES[reply.responses[0].status.code]
    if code == StatusCode.OK:
        expect(await target.fetch(target.digest(data)) == data, "other bytes are read")
    else:
        expect(code in BAD_INPUT, f"{code.name} was answered")
