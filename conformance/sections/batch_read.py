"""BatchReadBlobs."""

from __future__ import annotations

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, SHOULD, Section
from conformance.compressing import unzstd
from conformance.digests import key
from conformance.refusal import CODES, Refused
from conformance.target import BATCH_BYTES, Target, unique
from conformance.violation import NotApplicable, expect
from protos import remote_execution_pb2 as reapi

check = Section("cas", (needs.cache,))

_IDENTITY, _ZSTD = reapi.Compressor.IDENTITY, reapi.Compressor.ZSTD
MAX_READ_BYTES = 64 << 20


@check(
    MUST,
    "BatchReadBlobs answers each digest of a request with the blob's bytes.",
    source="BatchReadBlobsResponse, l.1893-1895",
)
async def blobs_are_read(target: Target) -> None:
    blobs = [unique(), unique(1), unique(5000)]
    digests = await target.put(*blobs)
    got = {key(each.digest): each for each in await target.batch_read(*digests)}
    for digest, data in zip(digests, blobs, strict=True):
        expect(key(digest) in got, f"{digest.hash} is not answered")
        entry = got[key(digest)]
        expect(not entry.status.code, f"code {entry.status.code} was answered for a blob")
        expect(entry.data == data, "other bytes are read than were uploaded")


@check(
    MUST,
    "BatchReadBlobs answers an absent blob with NOT_FOUND in the blob's own status, and reads the "
    "others.",
    source="ContentAddressableStorage.BatchReadBlobs, l.401-412; google/rpc/code.proto, NOT_FOUND",
)
async def absent_blobs_fail_one_by_one(target: Target) -> None:
    data = unique()
    present, absent = await target.put_one(data), target.digest(unique())
    got = {key(each.digest): each for each in await target.batch_read(absent, present)}
    expect(key(absent) in got, "the absent blob is not answered")
    code = CODES[got[key(absent)].status.code]
    expect(code == StatusCode.NOT_FOUND, f"{code.name} was answered for the absent blob")
    expect(not got[key(absent)].data, "there are data for the absent blob")
    expect(got[key(present)].data == data, "the blob that is there was not read")


@check(
    MUST,
    "BatchReadBlobs never gives bytes for a right hash with a wrong size.",
    source="Digest, l.1083-1085",
)
async def a_wrong_size_is_not_read(target: Target) -> None:
    stored = await target.put_one(unique())
    for size in (stored.size_bytes + 1, stored.size_bytes - 1):
        wrong = reapi.Digest(hash=stored.hash, size_bytes=size)
        try:
            replies = await target.batch_read(wrong)
        except Refused as error:
            expect(error.code == StatusCode.INVALID_ARGUMENT, f"{error.code.name} was answered")
            continue
        for entry in replies:
            said = f"a blob of {stored.size_bytes} bytes is read under the size {size}"
            expect(entry.status.code, said)


@check(
    MUST,
    "BatchReadBlobs reads the empty blob, uploaded or not.",
    source="ContentAddressableStorage, l.342-344",
)
async def the_empty_blob_is_read(target: Target) -> None:
    replies = await target.batch_read(target.digest(b""))
    expect(len(replies) == 1, f"{len(replies)} responses were answered for one digest")
    expect(not replies[0].status.code, f"code {replies[0].status.code} was answered")
    expect(not replies[0].data, "the empty blob has bytes")


@check(
    MUST,
    "BatchReadBlobs compresses nothing that the client does not accept compressed.",
    source="BatchReadBlobsResponse.Response.compressor, l.1904-1906",
)
async def nothing_is_compressed_unasked(target: Target) -> None:
    data = b"a" * 10000 + unique()
    (entry,) = await target.batch_read(await target.put_one(data))
    expect(entry.compressor == _IDENTITY, f"the response is in compressor {entry.compressor}")
    expect(entry.data == data, "other bytes are read than were uploaded")


@check(
    MUST,
    "BatchReadBlobs for a client that accepts zstd gives the bytes themselves, or zstd that "
    "decompresses to them.",
    source="BatchReadBlobsRequest.acceptable_compressors, l.1879-1881",
)
async def what_is_accepted_may_be_compressed(target: Target) -> None:
    data = b"a" * 10000 + unique()
    digest = await target.put_one(data)
    (entry,) = await target.batch_read(digest, accept=[_ZSTD])
    expect(entry.compressor in {_IDENTITY, _ZSTD}, f"compressor {entry.compressor}")
    got = unzstd(entry.data) if entry.compressor == _ZSTD else entry.data
    expect(got == data, "other bytes are read than were uploaded")


@check(
    MUST,
    "BatchReadBlobs answers a digest that stands twice in a request.",
    source="ContentAddressableStorage.BatchReadBlobs, l.404-406",
)
async def a_blob_may_be_read_twice(target: Target) -> None:
    data = unique()
    digest = await target.put_one(data)
    replies = await target.batch_read(digest, digest)
    expect(replies, "nothing was answered")
    expect({entry.data for entry in replies} == {data}, "other bytes are read")


@check(
    SHOULD,
    "BatchReadBlobs without digests is answered with no blobs.",
    source="ContentAddressableStorage.BatchReadBlobs, l.392-412",
)
async def nothing_can_be_read(target: Target) -> None:
    expect(not await target.batch_read(), "blobs are answered that were not asked for")


async def _put_bytes(target: Target, total: int) -> list[reapi.Digest]:
    """Upload blobs that are `total` bytes together."""
    sizes = [min(BATCH_BYTES, total - start) for start in range(0, total, BATCH_BYTES)]
    return [await target.put_one(unique(size)) for size in sizes]


def _tried(target: Target) -> int:
    limit = target.cache.max_batch_total_size_bytes
    if limit > MAX_READ_BYTES:
        raise NotApplicable(f"max_batch_total_size_bytes is more than is tried: {limit}")
    return limit


@check(
    MUST,
    "BatchReadBlobs gives as many bytes as max_batch_total_size_bytes says.",
    source="CacheCapabilities.max_batch_total_size_bytes, l.2295-2299",
    needs=[needs.batch_limit],
)
async def a_full_batch_can_be_read(target: Target) -> None:
    digests = await _put_bytes(target, _tried(target))
    replies = await target.batch_read(*digests)
    expect(len(replies) == len(digests), f"{len(replies)} of {len(digests)} are answered")
    for entry in replies:
        expect(not entry.status.code, f"code {entry.status.code} was answered for a blob")
        expect(len(entry.data) == entry.digest.size_bytes, "a blob is cut short")


@check(
    MUST,
    "BatchReadBlobs over max_batch_total_size_bytes is INVALID_ARGUMENT, if it is enforced at "
    "all; gRPC itself may say RESOURCE_EXHAUSTED.",
    source="ContentAddressableStorage.BatchReadBlobs, l.392-412",
    needs=[needs.batch_limit],
)
async def a_larger_batch_is_not_read(target: Target) -> None:
    digests = await _put_bytes(target, _tried(target) + 1)
    try:
        replies = await target.batch_read(*digests)
    except Refused as error:
        allowed = {StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED}
        expect(error.code in allowed, f"{error.code.name} was answered")
        return
    for entry in replies:
        whole = len(entry.data) == entry.digest.size_bytes
        expect(entry.status.code or whole, "a blob is cut short")


@check(
    SHOULD,
    "BatchReadBlobs infers the digest function from the hash's length if it is not named.",
    source="BatchReadBlobsRequest.digest_function, l.1883-1890",
)
async def reads_need_no_named_function(target: Target) -> None:
    if not target.function.inferred:
        raise NotApplicable(f"{target.function.name} has to be named")
    data = unique()
    digest = await target.put_one(data)
    request = reapi.BatchReadBlobsRequest(instance_name=target.instance, digests=[digest])
    replies = (await target.call(methods.BATCH_READ, request)).responses
    expect([entry.data for entry in replies] == [data], "other bytes are read")
