"""ByteStream.Write of blobs as they are."""

from __future__ import annotations

import asyncio
import uuid

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Requests, Target, piece, unique
from conformance.violation import NotApplicable, expect, refused
from protos import bytestream_pb2 as bytestream, remote_execution_pb2 as reapi

check = Section("bytestream", (needs.cache,))

LARGE_BYTES = 5 << 20
AT_ONCE_SECONDS = 5  # what "immediately" may take


@check(
    MUST,
    "Write stores a blob, and answers its size.",
    source="ContentAddressableStorage, l.217-222; bytestream.proto, WriteResponse",
)
async def a_blob_is_written(target: Target) -> None:
    data = unique(200_000)
    digest = target.digest(data)
    committed = await target.write(target.write_name(digest), data)
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")
    expect(await target.fetch(digest) == data, "other bytes are read")


@check(
    MUST,
    "Write takes blobs that are larger than one message.",
    source="ContentAddressableStorage, l.217-218",
)
async def a_large_blob_is_written(target: Target) -> None:
    data = unique(LARGE_BYTES)
    digest = target.digest(data)
    committed = await target.write(target.write_name(digest), data)
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")
    expect(await target.has(digest), "the blob is missing")


@check(
    MUST,
    "Write takes the empty blob.",
    source="ContentAddressableStorage, l.342-344",
)
async def the_empty_blob_is_written(target: Target) -> None:
    committed = await target.write(target.write_name(target.digest(b"")), b"")
    expect(committed == 0, f"committed_size {committed}")


@check(
    MUST,
    "Write of a blob that is there already succeeds, with its full size as committed_size.",
    source="ContentAddressableStorage, l.277-283",
)
async def a_blob_may_be_written_again(target: Target) -> None:
    data = unique(200_000)
    digest = await target.put_one(data)
    committed = await target.write(target.write_name(digest), data)
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")


@check(
    MUST,
    "Write of a blob that is there already ends at once, however little was sent.",
    source="ContentAddressableStorage, l.277-283",
    seconds=AT_ONCE_SECONDS,
)
async def a_write_of_what_is_there_ends_at_once(target: Target) -> None:
    data = unique(200_000)
    digest = await target.put_one(data)
    name = target.write_name(digest)
    open_end = _then_wait(piece(name, data[:1000]))
    committed = (await target.send(methods.WRITE, open_end)).committed_size
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")


async def _then_wait(*requests: bytestream.WriteRequest) -> Requests:
    """Send `requests`, and leave the stream open until the server ends it."""
    for request in requests:
        yield request
    await asyncio.Event().wait()


@check(
    MUST,
    "Write that another client was faster than ends without error, with the full size.",
    source="ContentAddressableStorage, l.277-283",
)
async def a_write_may_be_overtaken(target: Target) -> None:
    data = unique(200_000)
    digest = target.digest(data)
    name = target.write_name(digest)

    async def overtaken() -> Requests:
        yield piece(name, data[:1000])
        await target.write(target.write_name(digest), data)
        yield piece(name, data[1000:2000], offset=1000)
        yield piece(name, data[2000:], offset=2000, finish=True)

    committed = (await target.send(methods.WRITE, overtaken())).committed_size
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")


@check(
    SHOULD,
    "Write that another client was faster than ends at its next message.",
    source="ContentAddressableStorage, l.277-283",
    seconds=AT_ONCE_SECONDS,
)
async def an_overtaken_write_ends_at_once(target: Target) -> None:
    data = unique(200_000)
    digest = target.digest(data)
    name = target.write_name(digest)

    async def overtaken() -> Requests:
        yield piece(name, data[:1000])
        await target.write(target.write_name(digest), data)
        yield piece(name, data[1000:2000], offset=1000)
        await asyncio.Event().wait()

    committed = (await target.send(methods.WRITE, overtaken())).committed_size
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")


@check(
    MUST,
    "Clients may upload one blob at the same time.",
    source="ContentAddressableStorage, l.271-272",
)
async def a_blob_may_be_written_by_many(target: Target) -> None:
    data = unique(500_000)
    digest = target.digest(data)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(target.write(target.write_name(digest), data))
    expect(await target.fetch(digest) == data, "other bytes are read")


@check(
    MUST,
    "One uuid may stand for uploads of different blobs, also at the same time.",
    source="ContentAddressableStorage, l.232-234",
)
async def an_upload_name_may_be_reused(target: Target) -> None:
    blobs, upload = [unique(100_000) for _ in range(4)], str(uuid.uuid4())
    names = [target.write_name(target.digest(data), upload=upload) for data in blobs]
    async with asyncio.TaskGroup() as tasks:
        for name, data in zip(names, blobs, strict=True):
            tasks.create_task(target.write(name, data))
    for data in blobs:
        expect(await target.has(target.digest(data)), "one of the blobs is missing")


@check(
    MUST,
    "Write of bytes that do not hash to the name is INVALID_ARGUMENT, and nothing is stored.",
    source="ContentAddressableStorage, l.283-287",
)
async def a_wrong_hash_is_refused(target: Target) -> None:
    named = target.digest(unique(1000))
    with refused(StatusCode.INVALID_ARGUMENT):
        await target.write(target.write_name(named), unique(1000))
    expect(not await target.has(named), "there is a blob under the wrong name now")


@check(
    MUST,
    "Write that finishes before the size in the name is INVALID_ARGUMENT.",
    source="ContentAddressableStorage, l.283-287",
)
async def too_few_bytes_are_refused(target: Target) -> None:
    data = unique(1000)
    right = target.digest(data)
    wrong = reapi.Digest(hash=right.hash, size_bytes=1001)
    with refused(StatusCode.INVALID_ARGUMENT):
        await target.write(target.write_name(wrong), data)
    expect(not await target.has(wrong), "there is a blob under the wrong size now")


@check(
    MUST,
    "Write of more bytes than the size in the name is INVALID_ARGUMENT.",
    source="ContentAddressableStorage, l.283-287",
)
async def too_many_bytes_are_refused(target: Target) -> None:
    data = unique(1000)
    right = target.digest(data)
    wrong = reapi.Digest(hash=right.hash, size_bytes=999)
    with refused(StatusCode.INVALID_ARGUMENT):
        await target.write(target.write_name(wrong), data)
    expect(not await target.has(wrong), "there is a blob under the wrong size now")


@check(
    MUST,
    "Write with bytes under the empty blob's name is refused, or ends at once as the empty blob.",
    source="ContentAddressableStorage, l.277-287 and l.342-344",
)
async def the_empty_blob_keeps_no_bytes(target: Target) -> None:
    empty = target.digest(b"")
    try:
        committed = await target.write(target.write_name(empty), unique(1000))
    except Refused as error:
        expect(error.code == StatusCode.INVALID_ARGUMENT, f"{error.code.name} was answered")
        return
    expect(committed == 0, f"committed_size {committed} for the empty blob")
    expect(await target.read(target.read_name(empty)) == b"", "the empty blob has bytes now")


@check(
    SHOULD,
    "Write of a blob over max_cas_blob_size_bytes is INVALID_ARGUMENT.",
    source="CacheCapabilities.max_cas_blob_size_bytes, l.2317-2326",
    needs=[needs.blob_limit],
)
async def too_large_a_blob_is_refused(target: Target) -> None:
    size = target.cache.max_cas_blob_size_bytes + 1
    if size >= 1 << 63:
        raise NotApplicable("no size is over max_cas_blob_size_bytes")
    named = reapi.Digest(hash=target.digest(unique()).hash, size_bytes=size)
    with refused(StatusCode.INVALID_ARGUMENT):
        await target.send(methods.WRITE, [piece(target.write_name(named), unique(1000))])


@check(
    ROBUSTNESS,
    "Write refuses names that are none, with the client's fault as the reason.",
    source="ContentAddressableStorage, l.217-244",
)
async def names_that_are_none_are_refused(target: Target) -> None:
    data = unique(1000)
    digest = target.digest(data)
    prefix = f"{target.instance}/" if target.instance else ""
    upload = uuid.uuid4()
    for name in (
        "",
        "uploads",
        f"{prefix}uploads/{upload}",
        f"{prefix}uploads/{upload}/blobs/{digest.hash}",
        f"{prefix}uploads/{upload}/blobs/{digest.hash}/x",
        f"{prefix}uploads/{upload}/blobs/{digest.hash}/-1000",
        f"{prefix}uploads/{upload}/blobs/{digest.hash[:-1]}/1000",
        f"{prefix}uploads/{upload}/blobs/{'z' * len(digest.hash)}/1000",
        f"{prefix}uploads/{upload}/blobs/{digest.hash}/{1 << 70}",
        f"{prefix}uploads/{upload}/compressed-blobs/nozip/{digest.hash}/1000",
        f"{prefix}blobs/{digest.hash}/1000",
    ):
        with refused(*BAD_INPUT):
            await target.write(name, data)


@check(
    ROBUSTNESS,
    "Write of a stream without any message is refused, with the client's fault as the reason.",
    source="bytestream.proto, WriteRequest.resource_name",
)
async def an_empty_stream_is_refused(target: Target) -> None:
    with refused(*BAD_INPUT, StatusCode.CANCELLED):
        await target.send(methods.WRITE, [])
