"""The Log Stream API, and streams of the output of actions that run."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from grpc import StatusCode

from conformance import methods, needs
from conformance.actions import metadata_of, put_action, request_for, script
from conformance.check import MUST, Section
from conformance.refusal import Refused
from conformance.target import Target, piece, unique
from conformance.violation import NotApplicable, Violation, expect, refused
from protos import bytestream_pb2 as bytestream, logstream_pb2 as logstream

check = Section("logstream")

SOURCE = "remote_logstream.proto, LogStreamService"
UNKNOWN_PARENT = {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED}


async def _create(target: Target) -> logstream.LogStream:
    """Make a stream; which parents there are is up to the server."""
    for parent in dict.fromkeys((target.instance, "conformance")):
        request = logstream.CreateLogStreamRequest(parent=parent)
        try:
            return await target.call(methods.CREATE_LOG_STREAM, request)
        except Refused as error:
            if error.code == StatusCode.UNIMPLEMENTED:
                raise NotApplicable("the server does not implement LogStreamService") from error
            if error.code not in UNKNOWN_PARENT:
                raise
    raise NotApplicable("the server knows no parent that this suite can name")


async def _write(
    target: Target, name: str, data: bytes, *, offset: int = 0, finish: bool = True
) -> int:
    request = piece(name, data, offset=offset, finish=finish)
    return (await target.send(methods.WRITE, [request])).committed_size


@check(
    MUST,
    "CreateLogStream answers PARENT/logstreams/ID, and the same with a token for writing.",
    source="remote_logstream.proto, LogStream",
)
async def streams_have_two_names(target: Target) -> None:
    stream = await _create(target)
    parent, found, identity = stream.name.rpartition("logstreams/")
    expect(found and identity and "/" not in identity, f"the name is {stream.name!r}")
    expect(not parent or parent.endswith("/"), f"the name is {stream.name!r}")
    prefix, _, token = stream.write_resource_name.rpartition("/")
    said = f"the name for writing is {stream.write_resource_name!r}"
    expect(prefix == stream.name and token, said)


@check(MUST, "Each stream has names of its own.", source=SOURCE)
async def streams_are_told_apart(target: Target) -> None:
    streams = [await _create(target) for _ in range(3)]
    expect(len({stream.name for stream in streams}) == len(streams), "a name comes twice")


@check(MUST, "What was written to a stream, and finished, is read from it.", source=SOURCE)
async def what_is_written_is_read(target: Target) -> None:
    stream, data = await _create(target), unique(100_000)
    await _write(target, stream.write_resource_name, data)
    expect(await target.read(stream.name) == data, "other bytes are read")


@check(
    MUST,
    "A finished stream is read from read_offset on.",
    source=SOURCE,
)
async def streams_are_read_from_an_offset(target: Target) -> None:
    stream, data = await _create(target), unique(1000)
    await _write(target, stream.write_resource_name, data)
    expect(await target.read(stream.name, offset=600) == data[600:], "other bytes are read")


@check(
    MUST,
    "A stream that is not finished is written by several calls, each where the last one ended.",
    source=SOURCE,
)
async def streams_are_written_in_parts(target: Target) -> None:
    stream, data = await _create(target), unique(1000)
    name = stream.write_resource_name
    committed = await _write(target, name, data[:400], finish=False)
    expect(committed == 400, f"committed_size {committed} of 400")  # noqa: PLR2004
    await _write(target, name, data[400:], offset=400)
    expect(await target.read(stream.name) == data, "other bytes are read")


@check(
    MUST,
    "A read of a stream that is not finished stays open, and gives bytes as they are written.",
    source=SOURCE,
)
async def reads_follow_a_stream(target: Target) -> None:
    stream = await _create(target)
    name = stream.write_resource_name
    await _write(target, name, b"first", finish=False)
    request = bytestream.ReadRequest(resource_name=stream.name)
    async with aclosing(target.stream(methods.READ, request)) as replies:
        got = b""
        while got != b"first":
            got += (await anext(replies)).data
        await _write(target, name, b"second", offset=5)
        async for reply in replies:
            got += reply.data
    expect(got == b"firstsecond", f"{got!r} was read")


@check(
    MUST,
    "A read of a stream that is not finished does not end.",
    source=SOURCE,
)
async def reads_do_not_end_before_the_stream(target: Target) -> None:
    stream = await _create(target)
    await _write(target, stream.write_resource_name, b"first", finish=False)
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            got = await target.read(stream.name)
            raise Violation(f"the read ended after {got!r}")


@check(
    MUST,
    "Writing to the name for reading is an error.",
    source="remote_logstream.proto, LogStream.name",
)
async def the_name_for_reading_is_not_for_writing(target: Target) -> None:
    stream = await _create(target)
    with refused():
        await _write(target, stream.name, b"data")


@check(
    MUST,
    "Reading from the name for writing is INVALID_ARGUMENT.",
    source="remote_logstream.proto, LogStream.write_resource_name",
)
async def the_name_for_writing_is_not_for_reading(target: Target) -> None:
    stream = await _create(target)
    await _write(target, stream.write_resource_name, b"data")
    with refused(StatusCode.INVALID_ARGUMENT):
        await target.read(stream.write_resource_name)


@check(MUST, "A finished stream cannot be appended to.", source=SOURCE)
async def finished_streams_stay_as_they_are(target: Target) -> None:
    stream = await _create(target)
    name = stream.write_resource_name
    await _write(target, name, b"first")
    with refused():
        await _write(target, name, b"second", offset=5)
    expect(await target.read(stream.name) == b"first", "other bytes are read")


@check(MUST, "Committed bytes cannot be overwritten.", source=SOURCE)
async def committed_bytes_are_not_overwritten(target: Target) -> None:
    stream = await _create(target)
    name = stream.write_resource_name
    await _write(target, name, b"first", finish=False)
    with suppress(Refused):
        await _write(target, name, b"SECOND", offset=0, finish=False)
    await _write(target, name, b"", offset=await _committed(target, name))
    got = await target.read(stream.name)
    expect(got.startswith(b"first"), f"{got!r} is read")


async def _committed(target: Target, name: str) -> int:
    try:
        return (await target.write_status(name)).committed_size
    except Refused as error:
        if error.code == StatusCode.UNIMPLEMENTED:
            return len(b"first")
        raise


@check(
    MUST,
    "A stream that nobody made is NOT_FOUND.",
    source="google/rpc/code.proto, NOT_FOUND; bytestream.proto, Errors",
)
async def unknown_streams_are_not_found(target: Target) -> None:
    stream = await _create(target)
    with refused(StatusCode.NOT_FOUND):
        await target.read(f"{stream.name}{unique(4).hex()}")


@check(
    MUST,
    "A stream of stdout that an execution's metadata name can be read while it runs.",
    source="ExecuteOperationMetadata.stdout_stream_name, l.1675-1678",
    needs=[needs.execution],
)
async def output_is_streamed(target: Target) -> None:
    action = await put_action(target, script("echo early; sleep 1; echo late"))
    name = ""
    async with aclosing(target.stream(methods.EXECUTE, request_for(target, action))) as messages:
        async for message in messages:
            name = name or metadata_of(message).stdout_stream_name
            if name:
                break
        if not name:
            raise NotApplicable("the metadata name no stream")
        expect(await target.read(name) == b"early\nlate\n", "other bytes are read")
