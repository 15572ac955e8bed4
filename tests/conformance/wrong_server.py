"""A cache that keeps everything in memory, and breaks the rules that it is told to break.

It is a real grpc.aio server, of the CAS's batches and ByteStream alone. Without a fault it keeps
every rule about them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum, auto
from functools import partial
from hashlib import sha256

import grpc.aio
from google.protobuf.message import Message
from google.rpc import code_pb2
from grpc import StatusCode

from protos import bytestream_pb2 as bytestream, remote_execution_pb2 as reapi

Key = tuple[str, int]
MAX_BATCH_BYTES = 1 << 20
PIECE_BYTES = 1 << 20
EMPTY: Key = (sha256(b"").hexdigest(), 0)
_HASH = re.compile("[0-9a-f]{64}")
_READ = re.compile("blobs/([0-9a-f]{64})/([0-9]{1,18})")
_WRITE = re.compile("uploads/[^/]+/blobs/([0-9a-f]{64})/([0-9]{1,18})(?:/.*)?")
Context = grpc.aio.ServicerContext[object, object]


class Fault(StrEnum):
    """What a server does wrong."""

    NONE = auto()
    READ_OFFSET_IGNORED = auto()
    READ_LIMIT_IGNORED = auto()
    HASH_NOT_VERIFIED = auto()
    SIZE_NO_PART_OF_THE_NAME = auto()
    EMPTY_BLOB_MISSING = auto()
    ABSENT_BLOB_FAILS_THE_BATCH = auto()
    BATCH_LIMIT_NOT_KEPT = auto()
    WRITE_OFFSET_NOT_CHECKED = auto()
    FINISH_NOT_AWAITED = auto()
    WRONG_CODE_FOR_A_MISMATCH = auto()
    EXISTING_BLOB_READ_TO_ITS_END = auto()
    UNKNOWN_FUNCTION_ANNOUNCED = auto()


class Cache:
    """The server's state and its methods. blobs: what was uploaded, by hash and size."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._blobs: dict[Key, bytes] = {}
        if fault is not Fault.EMPTY_BLOB_MISSING:
            self._blobs[EMPTY] = b""

    def _find(self, hash: str, size: int) -> bytes | None:
        if self._fault is Fault.SIZE_NO_PART_OF_THE_NAME:
            alike = (data for (other, _), data in self._blobs.items() if other == hash)
            return next(alike, None)
        return self._blobs.get((hash, size))

    def _keep(self, hash: str, size: int, data: bytes) -> bool:
        """Keep `data`; return False where they are another blob's."""
        right = sha256(data).hexdigest() == hash and len(data) == size
        if right or self._fault is Fault.HASH_NOT_VERIFIED:
            self._blobs[hash, size] = data
            return True
        return False

    @property
    def _mismatch(self) -> StatusCode:
        wrong = self._fault is Fault.WRONG_CODE_FOR_A_MISMATCH
        return StatusCode.INTERNAL if wrong else StatusCode.INVALID_ARGUMENT

    async def capabilities(
        self, request: reapi.GetCapabilitiesRequest, context: Context
    ) -> reapi.ServerCapabilities:
        said = reapi.ServerCapabilities()
        said.low_api_version.major = said.high_api_version.major = 2
        cache = said.cache_capabilities
        cache.digest_functions.append(reapi.DigestFunction.SHA256)
        if self._fault is Fault.UNKNOWN_FUNCTION_ANNOUNCED:
            cache.digest_functions.append(reapi.DigestFunction.UNKNOWN)
        cache.max_batch_total_size_bytes = MAX_BATCH_BYTES
        cache.symlink_absolute_path_strategy = reapi.SymlinkAbsolutePathStrategy.ALLOWED
        return said

    async def find_missing(
        self, request: reapi.FindMissingBlobsRequest, context: Context
    ) -> reapi.FindMissingBlobsResponse:
        missing = [
            digest
            for digest in request.blob_digests
            if self._find(digest.hash, digest.size_bytes) is None
        ]
        return reapi.FindMissingBlobsResponse(missing_blob_digests=missing)

    async def batch_update(
        self, request: reapi.BatchUpdateBlobsRequest, context: Context
    ) -> reapi.BatchUpdateBlobsResponse:
        if sum(len(each.data) for each in request.requests) > self._most_bytes:
            await context.abort(StatusCode.INVALID_ARGUMENT, "too much for a batch")
        reply = reapi.BatchUpdateBlobsResponse()
        for each in request.requests:
            entry = reply.responses.add(digest=each.digest)
            if each.compressor or not _HASH.fullmatch(each.digest.hash):
                entry.status.code = code_pb2.INVALID_ARGUMENT
            elif not self._keep(each.digest.hash, each.digest.size_bytes, each.data):
                entry.status.code = self._mismatch.value[0]
        return reply

    @property
    def _most_bytes(self) -> int:
        lower = self._fault is Fault.BATCH_LIMIT_NOT_KEPT
        return MAX_BATCH_BYTES // 2 if lower else MAX_BATCH_BYTES

    async def batch_read(
        self, request: reapi.BatchReadBlobsRequest, context: Context
    ) -> reapi.BatchReadBlobsResponse:
        if sum(digest.size_bytes for digest in request.digests) > MAX_BATCH_BYTES:
            await context.abort(StatusCode.INVALID_ARGUMENT, "too much for a batch")
        reply = reapi.BatchReadBlobsResponse()
        for digest in request.digests:
            data = self._find(digest.hash, digest.size_bytes)
            entry = reply.responses.add(digest=digest, data=data or b"")
            if data is None:
                entry.status.code = code_pb2.NOT_FOUND
                if self._fault is Fault.ABSENT_BLOB_FAILS_THE_BATCH:
                    await context.abort(StatusCode.NOT_FOUND, digest.hash)
        return reply

    async def read(
        self, request: bytestream.ReadRequest, context: Context
    ) -> AsyncIterator[bytestream.ReadResponse]:
        data = await self._named(request.resource_name, context)
        if not 0 <= request.read_offset <= len(data):
            await context.abort(StatusCode.OUT_OF_RANGE, "read_offset")
        if request.read_limit < 0:
            await context.abort(StatusCode.INVALID_ARGUMENT, "read_limit")
        begin, end = request.read_offset, len(data)
        if request.read_limit and self._fault is not Fault.READ_LIMIT_IGNORED:
            end = min(end, begin + request.read_limit)
        if self._fault is Fault.READ_OFFSET_IGNORED:
            begin, end = 0, end - begin
        for start in range(begin, end, PIECE_BYTES):
            yield bytestream.ReadResponse(data=data[start : min(end, start + PIECE_BYTES)])

    async def _named(self, name: str, context: Context) -> bytes:
        match = _READ.fullmatch(name)
        if match is None:
            await context.abort(StatusCode.INVALID_ARGUMENT, "resource_name")
            raise AssertionError
        data = self._find(match[1], int(match[2]))
        if data is None:
            await context.abort(StatusCode.NOT_FOUND, name)
            raise AssertionError
        return data

    async def write(
        self, requests: AsyncIterator[bytestream.WriteRequest], context: Context
    ) -> bytestream.WriteResponse:
        name, data, finished = "", b"", False
        async for request in requests:
            name = name or request.resource_name
            match = _WRITE.fullmatch(name)
            if match is None or request.resource_name not in {"", name}:
                await context.abort(StatusCode.INVALID_ARGUMENT, "resource_name")
                raise AssertionError
            hash, size = match[1], int(match[2])
            there = self._find(hash, size)
            if there is not None and self._fault is not Fault.EXISTING_BLOB_READ_TO_ITS_END:
                return bytestream.WriteResponse(committed_size=len(there))
            unchecked = self._fault is Fault.WRITE_OFFSET_NOT_CHECKED
            if request.write_offset != len(data) and not unchecked:
                await context.abort(StatusCode.INVALID_ARGUMENT, "write_offset")
            data += request.data
            finished = request.finish_write
            if finished:
                break
        return await self._finish(name, data, context, finished=finished)

    async def _finish(
        self, name: str, data: bytes, context: Context, *, finished: bool
    ) -> bytestream.WriteResponse:
        match = _WRITE.fullmatch(name)
        if match is None:
            await context.abort(StatusCode.INVALID_ARGUMENT, "no message came")
            raise AssertionError
        if not finished and self._fault is not Fault.FINISH_NOT_AWAITED:
            await context.abort(StatusCode.INVALID_ARGUMENT, "finish_write")
        if not self._keep(match[1], int(match[2]), data):
            await context.abort(self._mismatch, "the bytes are another blob's")
        return bytestream.WriteResponse(committed_size=len(data))


def _serialised(reply: Message) -> bytes:
    return reply.SerializeToString()


@asynccontextmanager
async def wrong_server(fault: Fault) -> AsyncIterator[str]:
    """Serve with one fault until the block ends; yield grpc://HOST:PORT."""
    cache = Cache(fault)
    unary = partial(grpc.unary_unary_rpc_method_handler, response_serializer=_serialised)
    reading = partial(grpc.unary_stream_rpc_method_handler, response_serializer=_serialised)
    writing = partial(grpc.stream_unary_rpc_method_handler, response_serializer=_serialised)
    services: dict[str, dict[str, grpc.RpcMethodHandler[object, Message]]] = {
        "build.bazel.remote.execution.v2.Capabilities": {
            "GetCapabilities": unary(cache.capabilities, reapi.GetCapabilitiesRequest.FromString)
        },
        "build.bazel.remote.execution.v2.ContentAddressableStorage": {
            "FindMissingBlobs": unary(cache.find_missing, reapi.FindMissingBlobsRequest.FromString),
            "BatchUpdateBlobs": unary(cache.batch_update, reapi.BatchUpdateBlobsRequest.FromString),
            "BatchReadBlobs": unary(cache.batch_read, reapi.BatchReadBlobsRequest.FromString),
        },
        "google.bytestream.ByteStream": {
            "Read": reading(cache.read, bytestream.ReadRequest.FromString),
            "Write": writing(cache.write, bytestream.WriteRequest.FromString),
        },
    }
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"grpc://127.0.0.1:{port}"
    await server.stop(None)
