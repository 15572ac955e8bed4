"""The server under test, as a check sees it: calls, and what nearly every check needs of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, TypeVar

import grpc.aio
from google.protobuf.message import Message

from conformance import methods, names
from conformance.digests import Function, key
from conformance.exchange import Exchange
from conformance.methods import Serving, Taking, Unary
from conformance.refusal import Refused
from conformance.violation import Violation, expect
from protos import bytestream_pb2 as bytestream, remote_execution_pb2 as reapi

Reply = TypeVar("Reply", bound=Message)
Metadata = Sequence[tuple[str, str | bytes]]
Requests = AsyncGenerator[Message | bytes, None]

BATCH_BYTES = 256 << 10  # of blobs that go into one batch; every server takes that much
PIECE_BYTES = 64 << 10  # of data in one WriteRequest
MAX_PAGES = 10_000  # of one tree; a server whose tokens lead nowhere would give more


class Addressed(Protocol):
    """A request that names an instance and a digest function."""

    instance_name: str
    digest_function: reapi.DigestFunction.Value.ValueType


Request = TypeVar("Request", bound=Addressed)


@dataclass(frozen=True)
class Target:
    """One instance of one server, spoken to in one digest function.

    metadata: headers of every call. platform: properties of every action. pid: of the server, if
    it is a process of this machine whose memory may be looked at. exchanges: the calls made so far.
    """

    channel: grpc.aio.Channel
    capabilities: reapi.ServerCapabilities
    function: Function
    instance: str = ""
    metadata: Metadata = ()
    platform: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    exchanges: list[Exchange] = field(default_factory=list)

    @property
    def cache(self) -> reapi.CacheCapabilities:
        return self.capabilities.cache_capabilities

    @property
    def execution(self) -> reapi.ExecutionCapabilities:
        return self.capabilities.execution_capabilities

    def afresh(self) -> Self:
        """Return the same server, with no calls made yet."""
        return replace(self, exchanges=[])

    def using(self, function: Function) -> Self:
        return replace(self, function=function)

    def with_platform(self, platform: Mapping[str, str]) -> Self:
        return replace(self, platform=platform)

    # Calls. Each raises Refused if the server ends it with another status than OK.

    async def call(
        self, method: Unary[Reply], request: Message | bytes, *, metadata: Metadata = ()
    ) -> Reply:
        exchange = self._begin(method.path, metadata)
        exchange.sends(request)
        stub = self.channel.unary_unary(method.path, _encoded, method.reply.FromString)
        try:
            reply: Reply = await stub(request, metadata=self._headers(metadata))
        except grpc.aio.AioRpcError as error:
            raise _refused(exchange, error) from None
        exchange.receives(reply)
        return reply

    async def stream(
        self, method: Serving[Reply], request: Message | bytes, *, metadata: Metadata = ()
    ) -> AsyncGenerator[Reply, None]:
        """Yield what comes back. Who leaves early cancels the call by closing this."""
        exchange = self._begin(method.path, metadata)
        exchange.sends(request)
        stub = self.channel.unary_stream(method.path, _encoded, method.reply.FromString)
        call = stub(request, metadata=self._headers(metadata))
        try:
            async for reply in call:
                exchange.receives(reply)
                yield reply
        except grpc.aio.AioRpcError as error:
            raise _refused(exchange, error) from None
        finally:
            call.cancel()

    async def collect(
        self, method: Serving[Reply], request: Message | bytes, *, metadata: Metadata = ()
    ) -> list[Reply]:
        return [reply async for reply in self.stream(method, request, metadata=metadata)]

    async def send(
        self,
        method: Taking[Reply],
        requests: Iterable[Message | bytes] | Requests,
        *,
        metadata: Metadata = (),
    ) -> Reply:
        """Send `requests` until they end or the server has answered."""
        exchange = self._begin(method.path, metadata)
        stub = self.channel.stream_unary(method.path, _encoded, method.reply.FromString)
        call = stub(metadata=self._headers(metadata))
        reply: Reply | None = None
        ended: grpc.aio.AioRpcError | None = None
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(_write(call, exchange, requests))
            try:
                reply = await call
            except grpc.aio.AioRpcError as error:
                ended = error
            finally:
                call.cancel()
                writing.cancel()
        if ended is not None:
            raise _refused(exchange, ended)
        assert reply is not None
        exchange.receives(reply)
        return reply

    def _begin(self, path: str, metadata: Metadata) -> Exchange:
        exchange = Exchange(path, metadata)
        self.exchanges.append(exchange)
        return exchange

    def _headers(self, metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
        return (*self.metadata, *metadata)

    # Names.

    def digest(self, data: bytes) -> reapi.Digest:
        return self.function.digest(data)

    def named(self, request: Request) -> Request:
        """Put instance name and digest function into `request`."""
        request.instance_name = self.instance
        request.digest_function = self.function.value
        return request

    def read_name(self, digest: reapi.Digest, *, compressor: str = "") -> str:
        return names.read_name(digest, self.function, instance=self.instance, compressor=compressor)

    def write_name(self, digest: reapi.Digest, *, compressor: str = "", upload: str = "") -> str:
        return names.write_name(
            digest, self.function, instance=self.instance, compressor=compressor, upload=upload
        )

    # Blobs.

    async def find_missing(self, *digests: reapi.Digest) -> list[reapi.Digest]:
        return await self.missing_of(
            self.named(reapi.FindMissingBlobsRequest(blob_digests=digests))
        )

    async def missing_of(
        self, request: reapi.FindMissingBlobsRequest | bytes
    ) -> list[reapi.Digest]:
        return list((await self.call(methods.FIND_MISSING, request)).missing_blob_digests)

    async def has(self, digest: reapi.Digest) -> bool:
        return not await self.find_missing(digest)

    def batch_update(self, *blobs: tuple[reapi.Digest, bytes]) -> reapi.BatchUpdateBlobsRequest:
        """Return a request that uploads bytes under what may be their digests or not."""
        request = self.named(reapi.BatchUpdateBlobsRequest())
        for digest, data in blobs:
            request.requests.add(digest=digest, data=data)
        return request

    async def put(self, *blobs: bytes) -> list[reapi.Digest]:
        """Upload `blobs` however they fit; raise Violation if the server refuses one of them."""
        digests = [self.digest(data) for data in blobs]
        most = min(BATCH_BYTES, self.cache.max_batch_total_size_bytes or BATCH_BYTES)
        if sum(map(len, blobs)) > most:
            for digest, data in zip(digests, blobs, strict=True):
                await self.write(self.write_name(digest), data)
            return digests
        request = self.batch_update(*zip(digests, blobs, strict=True))
        reply = await self.call(methods.BATCH_UPDATE, request)
        for entry in reply.responses:
            expect(not entry.status.code, f"an upload was refused: {entry.status.message}")
        return digests

    async def put_one(self, data: bytes) -> reapi.Digest:
        (digest,) = await self.put(data)
        return digest

    async def put_message(self, message: Message) -> reapi.Digest:
        return await self.put_one(message.SerializeToString(deterministic=True))

    async def batch_read(
        self,
        *digests: reapi.Digest,
        accept: Sequence[reapi.Compressor.Value.ValueType] = (),
    ) -> Sequence[reapi.BatchReadBlobsResponse.Response]:
        request = self.named(
            reapi.BatchReadBlobsRequest(digests=digests, acceptable_compressors=accept)
        )
        return (await self.call(methods.BATCH_READ, request)).responses

    async def read(self, name: str, *, offset: int = 0, limit: int = 0) -> bytes:
        """Return the bytes of one ByteStream.Read."""
        request = bytestream.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
        return b"".join([reply.data for reply in await self.collect(methods.READ, request)])

    async def fetch(self, digest: reapi.Digest) -> bytes:
        """Return a blob's bytes; raise Violation if they are others than `digest` says."""
        data = await self.read(self.read_name(digest))
        if key(self.digest(data)) != key(digest):
            raise Violation(f"{len(data)} bytes were read that do not hash to their name")
        return data

    async def write(self, name: str, data: bytes, *, offset: int = 0) -> int:
        """Send `data` in pieces, finish, and return the committed size."""
        return (await self.send(methods.WRITE, pieces(name, data, offset=offset))).committed_size

    async def write_status(self, name: str) -> bytestream.QueryWriteStatusResponse:
        request = bytestream.QueryWriteStatusRequest(resource_name=name)
        return await self.call(methods.QUERY_WRITE, request)

    async def tree(self, root: reapi.Digest, *, page_size: int = 0) -> list[bytes]:
        """Return the directories of all pages, encoded; ask again where a stream has a token."""
        pages = await self.pages(root, page_size=page_size)
        return [
            directory.SerializeToString(deterministic=True)
            for page in pages
            for directory in page.directories
        ]

    async def pages(
        self, root: reapi.Digest, *, page_size: int = 0, token: str = ""
    ) -> list[reapi.GetTreeResponse]:
        """Return all pages of a tree from `token` on."""
        pages: list[reapi.GetTreeResponse] = []
        while True:
            request = self.named(
                reapi.GetTreeRequest(root_digest=root, page_size=page_size, page_token=token)
            )
            got = await self.collect(methods.GET_TREE, request)
            pages += got
            token = got[-1].next_page_token if got else ""
            if not token:
                return pages
            expect(len(pages) < MAX_PAGES, f"there is still a token after {len(pages)} pages")

    # Results of actions.

    async def result_of(self, action: reapi.Digest) -> reapi.ActionResult:
        request = self.named(reapi.GetActionResultRequest(action_digest=action))
        return await self.call(methods.GET_RESULT, request)

    async def update_result(
        self, action: reapi.Digest, result: reapi.ActionResult
    ) -> reapi.ActionResult:
        request = self.named(
            reapi.UpdateActionResultRequest(action_digest=action, action_result=result)
        )
        return await self.call(methods.UPDATE_RESULT, request)


def unique(size: int = 100) -> bytes:
    """Return bytes that no server has yet, and that do not compress."""
    return os.urandom(size)


def piece(
    name: str, data: bytes = b"", *, offset: int = 0, finish: bool = False
) -> bytestream.WriteRequest:
    """Return one message of a Write."""
    return bytestream.WriteRequest(
        resource_name=name, write_offset=offset, data=data, finish_write=finish
    )


def pieces(name: str, data: bytes, *, offset: int = 0) -> list[bytestream.WriteRequest]:
    """Return a Write's messages, as a client of good manners sends them."""
    starts = range(0, max(len(data), 1), PIECE_BYTES)
    return [
        piece(
            name,
            data[start : start + PIECE_BYTES],
            offset=offset + start,
            finish=start == starts[-1],
        )
        for start in starts
    ]


def _encoded(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


async def _write(
    call: grpc.aio.StreamUnaryCall[Message | bytes, Reply],
    exchange: Exchange,
    requests: Iterable[Message | bytes] | Requests,
) -> None:
    """Send `requests` and close this side of the stream, or stop where the server ends the call."""
    with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
        if isinstance(requests, AsyncGenerator):
            async with aclosing(requests):
                async for request in requests:
                    exchange.sends(request)
                    await call.write(request)
        else:
            for request in requests:
                exchange.sends(request)
                await call.write(request)
        await call.done_writing()


def _refused(exchange: Exchange, error: grpc.aio.AioRpcError) -> Refused:
    exchange.refused = Refused.of(error)
    return exchange.refused
