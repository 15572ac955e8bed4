"""Logs that are read while they grow."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import grpc.aio

from protos import bytestream_pb2 as bytestream
from protos.bytestream_pb2_grpc import ByteStreamStub
from re_client.connection import Connection, told_apart


async def follow(connection: Connection, name: str) -> AsyncGenerator[bytes, None]:
    """Yield what the log `name` has and what comes, until it is finished.

    Goes on where a stream broke off. Raises ConnectionError, and what from_status returns.
    Source: remote_logstream.proto, "Reading LogStreams".
    """
    stub = ByteStreamStub(connection.channel)
    offset, failed = 0, 0
    while True:
        request = bytestream.ReadRequest(resource_name=name, read_offset=offset)
        call = stub.Read(request, metadata=connection.metadata)
        try:
            while True:
                with told_apart():
                    response = await call.read()
                if not isinstance(response, bytestream.ReadResponse):
                    return
                if response.data:
                    offset += len(response.data)
                    failed = 0
                    yield response.data
        except grpc.aio.AioRpcError as error:
            failed += 1
            await connection.pause_or_raise(error, failed)
        finally:
            call.cancel()
