"""The LogStream service, and logs in the ByteStream service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from protos import bytestream_pb2, logstream_pb2, logstream_pb2_grpc
from re_client.status import Refused
from re_server.instances import Instances
from re_server.log_streams import LogName, LogStreams
from re_server.rpc import Context
from re_server.write_message import WriteMessage
from re_server.write_stream import check_follows, check_last

STEP_BYTES = 64 * 1024  # written between two looks at what else there is to do


class LogStreamService(logstream_pb2_grpc.LogStreamServiceServicer):
    """build.bazel.remote.logstream.v1.LogStreamService."""

    def __init__(self, instances: Instances, streams: LogStreams) -> None:
        self._instances = instances
        self._streams = streams

    async def CreateLogStream(
        self, request: logstream_pb2.CreateLogStreamRequest, context: Context
    ) -> logstream_pb2.LogStream:
        """Make a stream below an instance, whose name is the parent."""
        self._instances.find(request.parent)
        stream = self._streams.create(request.parent)
        return logstream_pb2.LogStream(name=stream.name, write_resource_name=stream.write_name)


class LogBytes:
    """What ByteStream's methods do where the resource is a log."""

    def __init__(self, streams: LogStreams) -> None:
        self._streams = streams

    def read(self, named: LogName, request: bytestream_pb2.ReadRequest) -> AsyncIterator[bytes]:
        """Return the bytes from read_offset on, and what comes, read_limit of them at most.

        Source: remote_logstream.proto, LogStream.write_resource_name: reading that is refused.
        """
        if named.token:
            raise Refused(f"resource_name: {named.name[:200]!r} is read without its token")
        return self._streams.find(named.name).read(request.read_offset)

    async def write(
        self, named: LogName, first: WriteMessage, messages: AsyncIterator[WriteMessage]
    ) -> bytestream_pb2.WriteResponse:
        """Add what the client sends at once; its stream may end with or without the log's end.

        Source: remote_logstream.proto, "Writing LogStreams".
        """
        stream = self._streams.find_writable(named)
        expected, message = first.write_offset, first
        while True:
            check_follows(message, first.resource_name, expected)
            for start in range(0, max(len(message.data), 1), STEP_BYTES):
                step = message.data[start : start + STEP_BYTES]
                self._streams.append(stream, expected, step)
                expected += len(step)
                await asyncio.sleep(0)
            if message.finish_write:
                await check_last(messages)
                self._streams.finish(stream)
                break
            following = await anext(messages, None)
            if following is None:
                break
            message = following
        return bytestream_pb2.WriteResponse(committed_size=stream.size)

    def status(self, named: LogName) -> bytestream_pb2.QueryWriteStatusResponse:
        stream = self._streams.find_writable(named)
        return bytestream_pb2.QueryWriteStatusResponse(
            committed_size=stream.size, complete=stream.finished
        )
