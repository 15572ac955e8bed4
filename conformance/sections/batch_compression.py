"""Compressed blobs in batches: each rule holds for every announced compressor."""

from __future__ import annotations

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, Section
from conformance.compressing import announced_for_batches, zstd
from conformance.refusal import CODES, Refused
from conformance.target import Target, unique
from conformance.violation import expect
from protos import remote_execution_pb2 as reapi

check = Section("compression", (needs.cache, needs.batch_compression))


async def _upload(
    target: Target,
    digest: reapi.Digest,
    data: bytes,
    compressor: reapi.Compressor.Value.ValueType,
) -> StatusCode:
    request = target.batch_update()
    request.requests.add(digest=digest, data=data, compressor=compressor)
    try:
        reply = await target.call(methods.BATCH_UPDATE, request)
    except Refused as error:
        return error.code
    (entry,) = reply.responses
    return CODES[entry.status.code]


@check(
    MUST,
    "BatchUpdateBlobs takes blobs in the announced compressors; they are read uncompressed.",
    source="BatchUpdateBlobsRequest.Request.compressor, l.1821-1825; "
    "CacheCapabilities.supported_batch_update_compressors",
)
async def compressed_batches_are_stored(target: Target) -> None:
    for codec in announced_for_batches(target):
        data = unique(50) + b"compress me " * 4000
        digest = target.digest(data)
        code = await _upload(target, digest, codec.compress(data), codec.value)
        expect(code == StatusCode.OK, f"{codec.name}: {code.name} was answered")
        expect(await target.fetch(digest) == data, f"{codec.name}: other bytes are read")


@check(
    MUST,
    "BatchUpdateBlobs refuses compressed data of another blob with INVALID_ARGUMENT.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
)
async def another_blob_in_a_batch_is_refused(target: Target) -> None:
    for codec in announced_for_batches(target):
        named = target.digest(unique(1000))
        code = await _upload(target, named, codec.compress(unique(1000)), codec.value)
        expect(code == StatusCode.INVALID_ARGUMENT, f"{codec.name}: {code.name} was answered")
        expect(not await target.has(named), "there is a blob under the wrong name now")


@check(
    MUST,
    "BatchUpdateBlobs refuses data that are not compressed as they say.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
)
async def plain_bytes_in_a_batch_are_refused(target: Target) -> None:
    for codec in announced_for_batches(target):
        data = b"\xff\xfe" + unique(1000)
        digest = target.digest(data)
        code = await _upload(target, digest, data, codec.value)
        expect(code != StatusCode.OK, f"{codec.name}: OK was answered")
        expect(not await target.has(digest), "the bytes are kept as they came")


@check(
    MUST,
    "BatchUpdateBlobs takes the empty blob in the announced compressors.",
    source="ContentAddressableStorage, l.342-344",
)
async def the_empty_blob_in_a_batch_is_taken(target: Target) -> None:
    for codec in announced_for_batches(target):
        code = await _upload(target, target.digest(b""), codec.compress(b""), codec.value)
        expect(code == StatusCode.OK, f"{codec.name}: {code.name} was answered")


@check(
    ROBUSTNESS,
    "BatchUpdateBlobs is not made to unpack far more than a digest says: the blob is refused.",
    source="Digest, l.1083-1085",
    needs=[needs.batch_compressor(reapi.Compressor.ZSTD)],
)
async def bombs_in_batches_are_refused(target: Target) -> None:
    named = target.digest(unique(1000))
    code = await _upload(target, named, zstd(bytes(256 << 20)), reapi.Compressor.ZSTD)
    expect(code != StatusCode.OK, "OK was answered")
