"""Large blobs: read and written in a stream that goes on where it broke off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

import grpc.aio

from cas.digest import Digest
from cas.store import BlobCorrupt, BlobNotFound, Chunk
from protos import bytestream_pb2 as bytestream
from protos.bytestream_pb2_grpc import ByteStreamStub
from re_client.connection import Connection, told_apart
from re_client.ending import Ending
from re_client.names import read_name, write_name
from re_client.source import Source
from re_client.status import NotServed, ServerFailed

# What a compressed upload of a blob that is there already is answered with; some servers answer
# identity uploads so too. Source: remote_execution.proto, service ContentAddressableStorage.
ALREADY_THERE = -1


class ByteStream:
    """Reads and writes blobs of one instance."""

    def __init__(self, connection: Connection, instance_name: str) -> None:
        self._connection = connection
        self._instance_name = instance_name
        self._stub = ByteStreamStub(connection.channel)

    async def read(self, digest: Digest, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the blob's bytes from `offset` on; unlike a store's `read`, do not hash them.

        Raises BlobNotFound before the first chunk, BlobCorrupt after it, ConnectionError.
        """
        name = read_name(self._instance_name, digest)
        start, position, failed = offset, offset, 0
        while True:
            request = bytestream.ReadRequest(resource_name=name, read_offset=position)
            call = self._stub.Read(request, metadata=self._connection.metadata)
            try:
                while isinstance(response := await _read(call), bytestream.ReadResponse):
                    if response.data:
                        position += len(response.data)
                        failed = 0
                        yield response.data
            except grpc.aio.AioRpcError as error:
                failed += 1
                await self._pause_or_raise(error, failed, digest, begun=position > start)
            else:
                return
            finally:
                call.cancel()
            if position == digest.size:
                return

    async def _pause_or_raise(
        self, error: grpc.aio.AioRpcError, failed: int, digest: Digest, *, begun: bool
    ) -> None:
        try:
            await self._connection.pause_or_raise(error, failed, digest=digest)
        except NotServed:
            raise (BlobCorrupt if begun else BlobNotFound)(digest) from None

    async def write(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        """Upload a blob; raise what a store's `write` raises, and ConnectionError."""
        name = write_name(self._instance_name, digest)
        offset, failed = 0, 0
        async with aclosing(Source(chunks)) as source:
            while True:
                try:
                    with told_apart():
                        committed = await self._send(name, source, offset)
                except grpc.aio.AioRpcError as error:
                    failed += 1
                    await self._connection.pause_or_raise(error, failed, digest=digest)
                else:
                    _check_committed(committed, digest)
                    return
                kept = await self._kept(name)
                if kept is None:
                    return
                failed = 0 if kept > offset else failed
                offset = kept

    async def _send(self, name: str, source: Source, offset: int) -> int:
        """Send all from `offset` on; return the size that the server says it keeps.

        A server may answer before all is sent, since the blob is there already: writing then fails,
        and the answer is what counts.
        """
        call = self._stub.Write(metadata=self._connection.metadata)
        ending = Ending(call)
        try:
            async with aclosing(source.segments(offset)) as segments:
                async for segment in segments:
                    await call.write(
                        bytestream.WriteRequest(
                            resource_name=name, write_offset=offset, data=segment
                        )
                    )
                    offset += len(segment)
            await call.write(
                bytestream.WriteRequest(resource_name=name, write_offset=offset, finish_write=True)
            )
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        except BaseException:
            call.cancel()
            raise
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            raise ending.error or error from None
        return response.committed_size

    async def _kept(self, name: str) -> int | None:
        """Ask how far an upload came; None if it is complete. 0 where it is not known any more."""
        request = bytestream.QueryWriteStatusRequest(resource_name=name)
        try:
            status = await self._connection.call(self._stub.QueryWriteStatus, request)
        except (NotServed, NotImplementedError):
            return 0
        return None if status.complete else status.committed_size


async def _read(
    call: grpc.aio.UnaryStreamCall[bytestream.ReadRequest, bytestream.ReadResponse],
) -> object:
    with told_apart():
        return await call.read()


def _check_committed(size: int, digest: Digest) -> None:
    if size not in {digest.size, ALREADY_THERE}:
        raise ServerFailed(f"the server kept {size} bytes of blob {digest}")
