"""The ByteStream service."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing

from cas.digest import Digest
from cas.names import varint
from cas.store import BlobStore
from protos import bytestream_pb2, bytestream_pb2_grpc
from re_client.status import NotServed, OutOfRange, Refused, Unserved
from re_server.compression.stream import compressed
from re_server.compression.zstd import Zstd
from re_server.instances import Instances
from re_server.log_stream_service import LogBytes
from re_server.log_streams import parse_log_name
from re_server.open_writes import OpenWrite, OpenWrites
from re_server.resource_name import Resource, parse_read, parse_write
from re_server.rpc import Context
from re_server.upload_limit import UploadLimit
from re_server.write_message import WriteMessage
from re_server.write_stream import check_follows, check_last, parsed

COMPRESSED_SIZE = -1  # committed_size of a compressed upload that ended early
NAME_HEADER = "build.bazel.remote.execution.v2.resource-name"
_DATA = b"\x52"  # tag of ReadResponse.data, field 10


class Unfinished(Refused):
    """The client ended the stream and not the upload, which it may come back to."""


class ByteStreamService(bytestream_pb2_grpc.ByteStreamServicer):
    """google.bytestream.ByteStream: blobs as they are and compressed, and logs."""

    raw_methods = frozenset({"Read", "Write"})

    def __init__(
        self,
        instances: Instances,
        blobs: BlobStore,
        writes: OpenWrites,
        logs: LogBytes,
        limit: UploadLimit,
    ) -> None:
        self._instances = instances
        self._blobs = blobs
        self._writes = writes
        self._logs = logs
        self._limit = limit

    async def Read(self, request: bytes, context: Context) -> AsyncIterator[bytes]:  # type: ignore[override]  # raw: a message would copy each chunk twice
        """Send a blob's or a log's bytes from read_offset on, read_limit of them at most.

        Source: bytestream.proto, ReadRequest; remote_execution.proto, service
        ContentAddressableStorage, on compressed reads.
        """
        asked = bytestream_pb2.ReadRequest.FromString(request)
        _check_header(context, asked.resource_name)
        if asked.read_limit < 0:
            raise Refused(f"read_limit {asked.read_limit}: must be 0 or more")
        log = parse_log_name(asked.resource_name)
        chunks = self._logs.read(log, asked) if log else self._read(asked)
        if asked.read_limit:
            chunks = _limited(chunks, asked.read_limit)
        async for chunk in chunks:
            yield _read_response(chunk)

    def _read(self, request: bytestream_pb2.ReadRequest) -> AsyncIterator[bytes]:
        resource = parse_read(request.resource_name, self._instances)
        digest, offset = resource.digest, request.read_offset
        if not 0 <= offset <= digest.size:
            raise OutOfRange(f"read_offset {offset}: the blob has {digest.size} bytes")
        if resource.codec and request.read_limit:
            raise Refused(f"read_limit {request.read_limit}: must be 0 for a compressed blob")
        if offset == 0 and isinstance(resource.codec, Zstd):
            stored = self._blobs.read_packed(digest)
            if stored is not None:
                return stored
        chunks = self._blobs.read(digest, offset=offset)
        return (
            compressed(resource.codec, chunks, digest.size - offset) if resource.codec else chunks
        )

    async def Write(self, requests: AsyncIterable[bytes], context: Context) -> bytes:  # type: ignore[override]  # raw, see write_message.py
        """Take a blob in; end at once where it is there already.

        Source: bytestream.proto, WriteRequest; remote_execution.proto, service
        ContentAddressableStorage, on uploads of blobs that exist.
        """
        messages = parsed(requests)
        first = await anext(messages, None)
        if first is None:
            raise Refused("the stream ended before its first message")
        name = first.resource_name
        _check_header(context, name)
        if log := parse_log_name(name):
            return (await self._logs.write(log, first, messages)).SerializeToString()
        resource = parse_write(name, self._instances)
        if await self._is_there(resource.digest):
            return _committed(resource, resource.digest.size)
        self._limit.check(resource.digest, resource.instance, context)
        if first.finish_write and not first.write_offset and not resource.codec:
            await check_last(messages)
            await self._blobs.write_all(bytes(first.data), resource.digest)
            self._writes.arrived(resource.digest)
            return _committed(resource, resource.digest.size)
        write = self._opened(name, resource, first.write_offset)
        sent = await self._received(name, write, first, messages)
        if sent is None:  # the store wanted no more of it
            sent = COMPRESSED_SIZE if resource.codec else resource.digest.size
        try:
            await write.finish()
        finally:
            self._writes.close(name, write)
        self._writes.arrived(resource.digest)
        return bytestream_pb2.WriteResponse(committed_size=sent).SerializeToString()

    async def _received(
        self,
        name: str,
        write: OpenWrite,
        first: WriteMessage,
        messages: AsyncIterator[WriteMessage],
    ) -> int | None:
        """Receive one connection's part of an upload, which stays open if the connection breaks."""
        me = write.holder = object()
        lenient = self._instances.find(write.resource.instance).lenient
        try:
            return await _receive(name, write, me, first, messages, lenient=lenient)
        except Unfinished:
            raise
        except ValueError:
            self._writes.close(name, write)
            raise
        finally:
            if write.holder is me:
                write.holder = None

    async def QueryWriteStatus(
        self, request: bytestream_pb2.QueryWriteStatusRequest, context: Context
    ) -> bytestream_pb2.QueryWriteStatusResponse:
        _check_header(context, request.resource_name)
        if log := parse_log_name(request.resource_name):
            return self._logs.status(log)
        resource = parse_write(request.resource_name, self._instances)
        if await self._is_there(resource.digest):
            return bytestream_pb2.QueryWriteStatusResponse(
                committed_size=resource.digest.size, complete=True
            )
        write = self._writes.find(request.resource_name)
        if write is None:
            raise NotServed(f"resource_name {request.resource_name!r}: no such upload is open")
        return bytestream_pb2.QueryWriteStatusResponse(committed_size=write.received)

    async def _is_there(self, digest: Digest) -> bool:
        return not await self._blobs.find_missing([digest])

    def _opened(self, name: str, resource: Resource, offset: int) -> OpenWrite:
        """Return the upload that a first message at `offset` goes on with, or begins."""
        known = self._writes.find(name)
        if offset == 0:
            return self._writes.begin(name, resource)
        if known is None or known.received != offset:
            at = known.received if known else 0
            raise Refused(f"write_offset {offset}: this upload has {at} bytes; go on there")
        known.resume()
        return known


async def _receive(
    name: str,
    write: OpenWrite,
    me: object,
    first: WriteMessage,
    messages: AsyncIterator[WriteMessage],
    *,
    lenient: bool,
) -> int | None:
    """Add all that a connection sends; return the committed size, None where it ended early.

    lenient: offsets may be left out, and finish_write where all of the blob has come.
    Raises Refused where a message does not follow the one before it, Unfinished where the stream
    ends before the upload does.
    """
    expected = first.write_offset
    message: WriteMessage | None = first
    while message is not None and not write.ended:
        if write.holder is not me:
            raise Unserved(f"resource_name {name!r}: another connection goes on with this upload")
        check_follows(message, name, 0 if lenient and not message.write_offset else expected)
        await write.add(message.data)
        expected += len(message.data)
        if message.finish_write:
            await check_last(messages)
            return expected
        message = await anext(messages, None)
    if write.ended:
        return None
    if lenient and write.received == write.resource.digest.size:
        return expected
    raise Unfinished(
        f"the stream ended without finish_write; the upload stays open at {write.received} bytes"
    )


def _check_header(context: Context, name: str) -> None:
    """Raise Refused if the call's header names another resource.

    Source: remote_execution.proto, service ContentAddressableStorage, on the header.
    """
    for header, value in context.invocation_metadata() or ():
        if header == NAME_HEADER and value != name:
            raise Refused(f"header {NAME_HEADER} {value!r}: the resource_name is {name!r}")


def _committed(resource: Resource, size: int) -> bytes:
    early = COMPRESSED_SIZE if resource.codec else size
    return bytestream_pb2.WriteResponse(committed_size=early).SerializeToString()


async def _limited(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    async with aclosing(chunks) as source:  # type: ignore[type-var]  # stores' are generators
        async for chunk in source:
            yield chunk[:limit]
            limit -= len(chunk)
            if limit <= 0:
                return


def _read_response(chunk: bytes) -> bytes:
    """Serialise a ReadResponse."""
    return b"".join((_DATA, varint(len(chunk)), chunk))
