"""The messages of one ByteStream.Write: offsets, names, the end."""

from __future__ import annotations

from contextlib import suppress

from conformance import methods, needs
from conformance.check import MUST, SHOULD, Section
from conformance.refusal import Refused
from conformance.target import Target, piece, pieces, unique
from conformance.violation import expect, refused

check = Section("bytestream", (needs.cache,))


@check(
    MUST,
    "Write checks write_offset in every message: a gap or an overlap is an error.",
    source="bytestream.proto, WriteRequest.write_offset",
)
async def later_offsets_are_checked(target: Target) -> None:
    for offset in (499, 501, 0, 1000, -1):
        data = unique(1000)
        digest = target.digest(data)
        name = target.write_name(digest)
        with refused():
            await target.send(
                methods.WRITE,
                [piece(name, data[:500]), piece(name, data[500:], offset=offset, finish=True)],
            )


@check(
    MUST,
    "Write of what nobody has begun begins at write_offset 0; any other is an error, even where "
    "all bytes come.",
    source="bytestream.proto, WriteRequest.write_offset",
)
async def the_first_offset_is_checked(target: Target) -> None:
    for offset in (1, 500, -1):
        data = unique(1000)
        name = target.write_name(target.digest(data))
        with refused():
            await target.write(name, data, offset=offset)
        expect(not await target.has(target.digest(data)), "the blob is there")


@check(
    MUST,
    "Write: messages after the first may leave the resource name out.",
    source="bytestream.proto, WriteRequest.resource_name",
)
async def later_names_may_be_left_out(target: Target) -> None:
    data = unique(1000)
    name = target.write_name(target.digest(data))
    requests = [piece(name, data[:500]), piece("", data[500:], offset=500, finish=True)]
    committed = (await target.send(methods.WRITE, requests)).committed_size
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")


@check(
    SHOULD,
    "Write: a resource name that is repeated has to be the first one.",
    source="bytestream.proto, WriteRequest.resource_name",
)
async def later_names_are_checked(target: Target) -> None:
    data = unique(1000)
    digest = target.digest(data)
    first, other = target.write_name(digest), target.write_name(target.digest(unique(1000)))
    requests = [piece(first, data[:500]), piece(other, data[500:], offset=500, finish=True)]
    with refused():
        await target.send(methods.WRITE, requests)


@check(
    MUST,
    "Write takes nothing in after finish_write: the call fails, or was answered before.",
    source="bytestream.proto, WriteRequest.finish_write",
)
async def nothing_follows_the_finish(target: Target) -> None:
    data = unique(1000)
    digest = target.digest(data)
    name = target.write_name(digest)
    requests = [piece(name, data, finish=True), piece(name, b"more", offset=1000, finish=True)]
    try:
        committed = (await target.send(methods.WRITE, requests)).committed_size
    except Refused:
        return
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")
    expect(await target.fetch(digest) == data, "other bytes are read")


@check(
    MUST,
    "Write is not complete without finish_write: the blob is not there.",
    source="bytestream.proto, Write",
)
async def nothing_is_complete_without_the_finish(target: Target) -> None:
    data = unique(1000)
    digest = target.digest(data)
    with suppress(Refused):
        await target.send(methods.WRITE, [piece(target.write_name(digest), data)])
    expect(not await target.has(digest), "the blob is there, though nobody finished it")


@check(
    MUST,
    "Write may finish in a message without data, and have such messages before.",
    source="bytestream.proto, WriteRequest.data",
)
async def messages_may_be_empty(target: Target) -> None:
    data = unique(1000)
    digest = target.digest(data)
    name = target.write_name(digest)
    requests = [
        piece(name),
        piece(name, data[:500]),
        piece(name, offset=500),
        piece(name, data[500:], offset=500),
        piece(name, offset=1000, finish=True),
    ]
    committed = (await target.send(methods.WRITE, requests)).committed_size
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")
    expect(await target.has(digest), "the blob is missing")


@check(
    MUST,
    "Write takes names with optional metadata behind the size.",
    source="ContentAddressableStorage, l.220 and l.243-244",
)
async def names_may_have_metadata(target: Target) -> None:
    data = unique(1000)
    digest = target.digest(data)
    committed = await target.write(target.write_name(digest) + "/notes.txt", data)
    expect(committed == len(data), f"committed_size {committed} for {len(data)} bytes")
    expect(await target.has(digest), "the blob is missing")


@check(
    MUST,
    "The header that repeats a request's resource name changes nothing.",
    source="ContentAddressableStorage, l.328-335",
)
async def the_written_name_may_stand_in_a_header(target: Target) -> None:
    data = unique(1000)
    name = target.write_name(target.digest(data))
    header = ("build.bazel.remote.execution.v2.resource-name", name)
    reply = await target.send(methods.WRITE, pieces(name, data), metadata=[header])
    expect(reply.committed_size == len(data), f"committed_size {reply.committed_size}")
