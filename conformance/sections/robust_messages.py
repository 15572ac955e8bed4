"""Requests that are malformed, huge, or many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from google.protobuf.empty_pb2 import Empty
from grpc import StatusCode

from conformance import methods, needs
from conformance.check import ROBUSTNESS, Section
from conformance.memory import MIB, bounded_memory
from conformance.methods import Serving, Unary
from conformance.raw import delimited, nested_groups, numbered, varint
from conformance.refusal import BAD_INPUT, Refused
from conformance.results import put_action
from conformance.target import Requests, Target, piece, unique
from conformance.violation import expect, refused
from protos import bytestream_pb2 as bytestream, remote_execution_pb2 as reapi

check = Section("robustness", (needs.cache,))

# What gRPC libraries themselves say of bytes that are no message.
UNREADABLE = (*BAD_INPUT, StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.CANCELLED)
MOST_BYTES = 512 * MIB
DIGESTS = 100_000
CALLS = 200
LARGEST = (1 << 63) - 1
SLOW_SECONDS = 60.0


async def _survived(call: Awaitable[object], *also: StatusCode) -> None:
    """Make a call that may be served, or refused for what it is."""
    try:
        await call
    except Refused as error:
        expect(error.code in {*BAD_INPUT, *also}, f"{error.code.name} was answered")


@check(
    ROBUSTNESS,
    "Bytes that are no message are refused by every method.",
    source="the encoding of Protocol Buffers",
)
async def what_is_no_message_is_refused(target: Target) -> None:
    garbage = b"\xff" * 20
    for method in (
        methods.GET_CAPABILITIES,
        methods.FIND_MISSING,
        methods.BATCH_UPDATE,
        methods.BATCH_READ,
        methods.GET_RESULT,
        methods.UPDATE_RESULT,
    ):
        with refused(*UNREADABLE):
            await target.call(Unary(method.path, Empty), garbage)
    for stream in (methods.GET_TREE, methods.READ):
        with refused(*UNREADABLE):
            await target.collect(Serving(stream.path, Empty), garbage)
    with refused(*UNREADABLE):
        await target.send(methods.WRITE, [garbage])


@check(
    ROBUSTNESS,
    "Messages that are cut short are refused.",
    source="the encoding of Protocol Buffers",
)
async def messages_that_are_cut_short_are_refused(target: Target) -> None:
    request = target.named(reapi.FindMissingBlobsRequest(blob_digests=[target.digest(b"x")]))
    request.ClearField("digest_function")
    with refused(*UNREADABLE):
        await target.call(methods.FIND_MISSING, request.SerializeToString()[:-1])


@check(
    ROBUSTNESS,
    "Numbers of more than ten bytes are refused, and longer ones than they need be are read.",
    source="the encoding of Protocol Buffers, varints",
)
async def overlong_numbers_are_refused(target: Target) -> None:
    absent = target.digest(unique())
    hash = delimited(1, absent.hash.encode())
    endless = hash + varint(2 << 3) + b"\xff" * 10 + b"\x01"
    with refused(*UNREADABLE):
        await target.call(methods.FIND_MISSING, delimited(2, endless))
    padded = hash + varint(2 << 3) + bytes([absent.size_bytes | 0x80, 0x80, 0x00])
    await _survived(target.call(methods.FIND_MISSING, delimited(2, padded)))


@check(
    ROBUSTNESS,
    "Fields that nobody knows are passed over.",
    source="proto3, unknown fields",
)
async def unknown_fields_are_passed_over(target: Target) -> None:
    absent = target.digest(unique())
    request = target.named(reapi.FindMissingBlobsRequest(blob_digests=[absent]))
    raw = request.SerializeToString() + numbered(1000, 7) + delimited(1001, b"new")
    reply = await target.call(methods.FIND_MISSING, raw)
    expect(len(reply.missing_blob_digests) == 1, "the answer is another with unknown fields")


@check(
    ROBUSTNESS,
    "Groups within groups, ten thousand deep, are refused or passed over.",
    source="the encoding of Protocol Buffers, groups",
)
async def deep_messages_do_no_harm(target: Target) -> None:
    raw = nested_groups(1000, 10_000)
    await _survived(target.call(methods.FIND_MISSING, raw), *UNREADABLE)


@check(
    ROBUSTNESS,
    "Text that is no UTF-8 is refused, or no instance's name.",
    source="proto3, strings",
)
async def text_that_is_no_text_is_refused(target: Target) -> None:
    raw = delimited(1, b"\xff\xfe") + delimited(2, delimited(1, b"\xff") + numbered(2, 1))
    await _survived(target.call(methods.FIND_MISSING, raw), *UNREADABLE)


@check(
    ROBUSTNESS,
    "A method that does not exist is UNIMPLEMENTED.",
    source="gRPC's status codes",
)
async def unknown_methods_are_unimplemented(target: Target) -> None:
    service = "/build.bazel.remote.execution.v2.ContentAddressableStorage"
    for path in (f"{service}/NoSuchMethod", "/no.such.Service/Method"):
        with refused(StatusCode.UNIMPLEMENTED):
            await target.call(Unary(path, Empty), Empty())


@check(
    ROBUSTNESS,
    "A hundred thousand digests in one request are answered, or refused as too many.",
    source="ContentAddressableStorage.FindMissingBlobs, l.351-360",
    seconds=SLOW_SECONDS,
)
async def very_many_digests_are_answered(target: Target) -> None:
    absent = [target.digest(number.to_bytes(16)) for number in range(DIGESTS)]
    with bounded_memory(target, MOST_BYTES):
        await _survived(target.find_missing(*absent))
        await _survived(target.batch_read(*absent[: DIGESTS // 10]))


@check(
    ROBUSTNESS,
    "A batch of ten thousand tiny blobs is taken, or refused as too many.",
    source="ContentAddressableStorage.BatchUpdateBlobs, l.364-388",
    seconds=SLOW_SECONDS,
)
async def very_many_blobs_are_taken_or_refused(target: Target) -> None:
    seed = unique(8)
    blobs = [seed + number.to_bytes(4) for number in range(DIGESTS // 10)]
    request = target.batch_update(*((target.digest(data), data) for data in blobs))
    with bounded_memory(target, MOST_BYTES):
        await _survived(target.call(methods.BATCH_UPDATE, request))


@check(
    ROBUSTNESS,
    "A message of 70 MiB is refused, or taken.",
    source="gRPC's limit on messages",
    seconds=SLOW_SECONDS,
)
async def very_large_messages_are_refused_or_taken(target: Target) -> None:
    data = bytes(70 * MIB)
    with bounded_memory(target, MOST_BYTES):
        request = target.batch_update((target.digest(data), data))
        await _survived(target.call(methods.BATCH_UPDATE, request))


@check(
    ROBUSTNESS,
    "A WriteRequest of 70 MiB is refused, or taken.",
    source="gRPC's limit on messages",
    seconds=SLOW_SECONDS,
)
async def very_large_pieces_are_refused_or_taken(target: Target) -> None:
    data = unique(8) + bytes(70 * MIB)
    name = target.write_name(target.digest(data))
    with bounded_memory(target, MOST_BYTES):
        await _survived(target.send(methods.WRITE, [piece(name, data, finish=True)]))


@check(
    ROBUSTNESS,
    "Sizes that no blob has are refused by every method, and nothing is set aside for them.",
    source="Digest.size_bytes, l.1116-1117",
)
async def impossible_sizes_are_refused(target: Target) -> None:
    hash = target.digest(unique()).hash
    with bounded_memory(target, MOST_BYTES):
        for size in (-1, -(1 << 63), LARGEST, 1 << 50):
            digest = reapi.Digest(hash=hash, size_bytes=size)
            await _survived(target.batch_read(digest))
            await _survived(target.call(methods.BATCH_UPDATE, target.batch_update((digest, b"x"))))
            with refused(*BAD_INPUT):
                await target.result_of(digest)
            with refused(*BAD_INPUT):
                await target.read(target.read_name(digest))
            request = target.named(reapi.GetTreeRequest(root_digest=digest))
            with refused(*BAD_INPUT):
                await target.collect(methods.GET_TREE, request)


@check(
    ROBUSTNESS,
    "A write of a size that no store has is refused, or fails when it is cut off; nothing is set "
    "aside for it.",
    source="Digest.size_bytes, l.1116-1117",
)
async def impossible_writes_are_refused(target: Target) -> None:
    hash = target.digest(unique()).hash
    with bounded_memory(target, MOST_BYTES):
        for size in (1 << 50, LARGEST):
            name = target.write_name(reapi.Digest(hash=hash, size_bytes=size))
            with refused(*BAD_INPUT):
                await target.send(methods.WRITE, [piece(name, unique(1000), finish=True)])


@check(
    ROBUSTNESS,
    "Offsets and limits at the ends of their range are refused or served.",
    source="bytestream.proto, ReadRequest",
)
async def extreme_offsets_do_no_harm(target: Target) -> None:
    name = target.read_name(await target.put_one(unique(1000)))
    for offset, limit in ((LARGEST, 0), (0, LARGEST), (1, LARGEST), (-(1 << 63), -(1 << 63))):
        await _survived(target.read(name, offset=offset, limit=limit))
    written = target.write_name(target.digest(unique(1000)))
    for offset in (LARGEST, -(1 << 63)):
        with refused(*BAD_INPUT):
            await target.write(written, unique(1000), offset=offset)


@check(
    ROBUSTNESS,
    "Requests without a digest are refused.",
    source="Digest, l.1080-1111",
)
async def digests_that_are_not_there_are_refused(target: Target) -> None:
    update = target.named(reapi.BatchUpdateBlobsRequest())
    update.requests.add(data=b"data without a name")
    try:
        reply = await target.call(methods.BATCH_UPDATE, update)
        expect(all(each.status.code for each in reply.responses), "a blob without a name is taken")
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
    with refused(*BAD_INPUT):
        await target.collect(methods.GET_TREE, target.named(reapi.GetTreeRequest()))


@check(
    ROBUSTNESS,
    "Instance names that are none are refused, or instances of their own; names full of dots and "
    "slashes lead nowhere.",
    source="ContentAddressableStorage, l.223-231",
)
async def strange_instances_lead_nowhere(target: Target) -> None:
    digest = await target.put_one(unique())
    for instance in ("..", "../..", "/", "//", "blobs", "a/blobs/b", "n" * 5000, "\x00", "ü/☃"):
        request = reapi.FindMissingBlobsRequest(
            instance_name=instance,
            blob_digests=[digest],
            digest_function=target.function.value,
        )
        await _survived(target.call(methods.FIND_MISSING, request))
        name = f"{instance}/blobs/{digest.hash}/{digest.size_bytes}"
        await _survived(target.read(name))


@check(
    ROBUSTNESS,
    "An ActionResult with twenty thousand outputs is taken, or refused as too large.",
    source="ActionCache.UpdateActionResult, l.174-193",
    needs=[needs.updates],
    seconds=SLOW_SECONDS,
)
async def very_large_results_are_taken_or_refused(target: Target) -> None:
    action, digest = await put_action(target), await target.put_one(unique())
    result = reapi.ActionResult(
        execution_metadata=reapi.ExecutedActionMetadata(worker="conformance")
    )
    for number in range(DIGESTS // 5):
        result.output_files.add(path=f"f{number}", digest=digest)
    try:
        await target.update_result(action, result)
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    got = await target.result_of(action)
    expect(len(got.output_files) == len(result.output_files), "outputs are gone")


@check(
    ROBUSTNESS,
    "Hundreds of calls at the same time are all answered.",
    source="gRPC",
    seconds=SLOW_SECONDS,
)
async def many_calls_are_answered(target: Target) -> None:
    data = unique(10_000)
    digest = await target.put_one(data)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLS):
            tasks.create_task(target.fetch(digest))
            tasks.create_task(target.find_missing(digest))


@check(
    ROBUSTNESS,
    "Hundreds of writes that stand still keep nobody else from being served.",
    source="bytestream.proto, Write",
    seconds=SLOW_SECONDS,
)
async def standing_writes_hold_up_nobody(target: Target) -> None:
    begun = asyncio.Semaphore(0)

    async def beginning() -> Requests:
        data = unique(1000)
        yield piece(target.write_name(target.digest(data)), data[:100])
        begun.release()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        standing = [
            tasks.create_task(target.send(methods.WRITE, beginning())) for _ in range(CALLS)
        ]
        for _ in standing:
            await begun.acquire()
        await target.fetch(await target.put_one(unique(1000)))
        for task in standing:
            task.cancel()


@check(
    ROBUSTNESS,
    "A write that comes in single bytes is taken.",
    source="bytestream.proto, WriteRequest.data",
    seconds=SLOW_SECONDS,
)
async def dripping_writes_are_taken(target: Target) -> None:
    data = unique(2000)
    name = target.write_name(target.digest(data))
    drops: list[bytestream.WriteRequest | bytes] = [
        piece(name, data[at : at + 1], offset=at, finish=at == len(data) - 1)
        for at in range(len(data))
    ]
    reply = await target.send(methods.WRITE, drops)
    expect(reply.committed_size == len(data), f"committed_size {reply.committed_size}")
