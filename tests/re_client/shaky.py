"""A real gRPC server that holds blobs, and fails in the ways that it is told to."""
# ruff: noqa: N802  gRPC methods keep the protocol's names

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from protos import bytestream_pb2 as bytestream, remote_execution_pb2 as reapi
from protos.bytestream_pb2_grpc import ByteStreamServicer, add_ByteStreamServicer_to_server
from protos.remote_execution_pb2_grpc import (
    CapabilitiesServicer,
    ContentAddressableStorageServicer,
    add_CapabilitiesServicer_to_server,
    add_ContentAddressableStorageServicer_to_server,
)
from re_client.connection import Connection, Retry, connected

PIECE_BYTES = 300_000
QUICK = Retry(attempts=4, first_seconds=0.01, longest_seconds=0.02)

Context = grpc.aio.ServicerContext[object, object]


@dataclass
class Shaky(CapabilitiesServicer, ContentAddressableStorageServicer, ByteStreamServicer):
    """blobs: by `hash/size`. uploads: what came of each resource name so far.

    unavailable: calls to come that are refused. cut_reads, cut_writes: bytes after which a stream
    to come breaks off, one stream for each number. forgets: uploads that break off are forgotten.
    corrupts: bytes are changed on their way out. early: writes are answered at the first message.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    max_batch: int = 0
    unavailable: int = 0
    cut_reads: list[int] = field(default_factory=list)
    cut_writes: list[int] = field(default_factory=list)
    forgets: bool = False
    corrupts: bool = False
    early: bool = False
    full: bool = False

    async def _called(self, name: str, context: Context) -> None:
        self.calls.append(name)
        if self.unavailable:
            self.unavailable -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    def _sent(self, name: str) -> bytes:
        data = self.blobs[name]
        return data[:-1] + bytes([data[-1] ^ 1]) if self.corrupts else data

    async def GetCapabilities(
        self, request: reapi.GetCapabilitiesRequest, context: Context
    ) -> reapi.ServerCapabilities:
        await self._called("GetCapabilities", context)
        cache = reapi.CacheCapabilities(max_batch_total_size_bytes=self.max_batch)
        return reapi.ServerCapabilities(cache_capabilities=cache)

    async def FindMissingBlobs(
        self, request: reapi.FindMissingBlobsRequest, context: Context
    ) -> reapi.FindMissingBlobsResponse:
        await self._called("FindMissingBlobs", context)
        missing = [each for each in request.blob_digests if _name(each) not in self.blobs]
        return reapi.FindMissingBlobsResponse(missing_blob_digests=missing)

    async def BatchReadBlobs(
        self, request: reapi.BatchReadBlobsRequest, context: Context
    ) -> reapi.BatchReadBlobsResponse:
        await self._called("BatchReadBlobs", context)
        response = reapi.BatchReadBlobsResponse()
        for digest in request.digests:
            if _name(digest) in self.blobs:
                response.responses.add(digest=digest, data=self._sent(_name(digest)))
            else:
                response.responses.add(digest=digest, status=Status(code=Code.NOT_FOUND))
        return response

    async def BatchUpdateBlobs(
        self, request: reapi.BatchUpdateBlobsRequest, context: Context
    ) -> reapi.BatchUpdateBlobsResponse:
        await self._called("BatchUpdateBlobs", context)
        response = reapi.BatchUpdateBlobsResponse()
        for each in request.requests:
            if self.full:
                status = Status(code=Code.RESOURCE_EXHAUSTED, message="no room")
                response.responses.add(digest=each.digest, status=status)
                continue
            self.blobs[_name(each.digest)] = each.data
            response.responses.add(digest=each.digest)
        return response

    async def Read(
        self, request: bytestream.ReadRequest, context: Context
    ) -> AsyncIterator[bytestream.ReadResponse]:
        await self._called(f"Read {request.read_offset}", context)
        name = request.resource_name.partition("blobs/")[2]
        if name not in self.blobs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such blob")
        data = self._sent(name)[request.read_offset :]
        limit = self.cut_reads.pop(0) if self.cut_reads else None
        for start in range(0, len(data[:limit]), PIECE_BYTES):
            yield bytestream.ReadResponse(data=data[:limit][start : start + PIECE_BYTES])
        if limit is not None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")

    async def Write(
        self, requests: AsyncIterator[bytestream.WriteRequest], context: Context
    ) -> bytestream.WriteResponse:
        await self._called("Write", context)
        limit = self.cut_writes.pop(0) if self.cut_writes else None
        kept = b""
        async for request in requests:
            name = request.resource_name
            kept = kept or self.uploads.get(name, b"")[: request.write_offset]
            assert request.write_offset == len(kept)
            kept += request.data
            size = int(name.rpartition("/")[2])
            if self.early:
                return bytestream.WriteResponse(committed_size=size)
            if self.full:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
            if limit is not None and len(kept) >= limit:
                self.uploads[name] = b"" if self.forgets else kept
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")
            if request.finish_write:
                self.blobs[name.partition("/blobs/")[2]] = kept
                return bytestream.WriteResponse(committed_size=len(kept))
        raise AssertionError("the upload was not finished")

    async def QueryWriteStatus(
        self, request: bytestream.QueryWriteStatusRequest, context: Context
    ) -> bytestream.QueryWriteStatusResponse:
        await self._called("QueryWriteStatus", context)
        if self.forgets:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such upload")
        kept = self.uploads.get(request.resource_name, b"")
        return bytestream.QueryWriteStatusResponse(committed_size=len(kept))

    def GetTree(self, request: object, context: Context) -> AsyncIterator[reapi.GetTreeResponse]:
        raise NotImplementedError

    async def SplitBlob(self, request: object, context: Context) -> reapi.SplitBlobResponse:
        raise NotImplementedError

    async def SpliceBlob(self, request: object, context: Context) -> reapi.SpliceBlobResponse:
        raise NotImplementedError


def _name(digest: reapi.Digest) -> str:
    return f"{digest.hash}/{digest.size_bytes}"


@asynccontextmanager
async def shaky(server: Shaky, retry: Retry = QUICK) -> AsyncIterator[Connection]:
    """Serve `server`, and yield a connection to it."""
    async with served(server) as address, connected(address, retry=retry) as connection:
        yield connection


@asynccontextmanager
async def served(server: Shaky) -> AsyncIterator[str]:
    listening = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    add_CapabilitiesServicer_to_server(server, listening)
    add_ContentAddressableStorageServicer_to_server(server, listening)
    add_ByteStreamServicer_to_server(server, listening)
    port = listening.add_insecure_port("127.0.0.1:0")
    await listening.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        await listening.stop(0)
