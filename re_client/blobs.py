"""The blobs of a server, as a store."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing
from typing import Self

from google.rpc.code_pb2 import Code

from cas.digest import Digest, DigestFunction
from cas.store import BlobCorrupt, BlobNotFound, BlobStore, Chunk, DigestMismatch, StoreFull
from cas.tree import is_empty
from cas.wire import TO_WIRE, digest_to
from protos import remote_execution_pb2 as reapi
from protos.remote_execution_pb2_grpc import ContentAddressableStorageStub
from re_client.byte_stream import ByteStream
from re_client.connection import Connection, batch_bytes
from re_client.parallel import each
from re_client.status import Overloaded, ServerFailed, from_status

ENTRY_BYTES = 150  # of a message for each blob beside its data: digest, status, tags
FIND_DIGESTS = 4000  # of one FindMissingBlobs call: 300 kB
SINGLE_BYTES = 1 << 20  # a blob up to this size is one message, not a stream
CALLS = 4  # at one time, for what a caller asks at once


class RemoteStore(BlobStore):
    """What the server stores for one instance name.

    Everything read from the start is hashed before its last chunk is given out. A server that
    cannot be reached is asked again, as the connection says, then ConnectionError is raised.
    """

    def __init__(self, connection: Connection, instance_name: str, *, max_batch_bytes: int) -> None:
        self._connection = connection
        self._instance_name = instance_name
        self._max_batch_bytes = max_batch_bytes
        self._single_bytes = min(SINGLE_BYTES, max_batch_bytes - ENTRY_BYTES)
        self._stub = ContentAddressableStorageStub(connection.channel)
        self._streams = ByteStream(connection, instance_name)

    @classmethod
    async def open(cls, connection: Connection, instance_name: str) -> Self:
        """Ask the server for its bounds; raise what Connection.capabilities raises."""
        capabilities = await connection.capabilities(instance_name)
        return cls(connection, instance_name, max_batch_bytes=batch_bytes(capabilities))

    async def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        missing: set[Digest] = set()

        async def ask(batch: list[Digest]) -> None:
            missing.update(await self._find_missing(batch))

        wanted = {digest for digest in digests if not is_empty(digest)}
        await each(ask, _batches(wanted, lambda digest: 1, FIND_DIGESTS), width=CALLS)
        return missing

    async def _find_missing(self, batch: list[Digest]) -> set[Digest]:
        function = batch[0].function
        request = reapi.FindMissingBlobsRequest(
            instance_name=self._instance_name,
            blob_digests=map(digest_to, batch),
            digest_function=TO_WIRE[function],
        )
        response = await self._connection.call(self._stub.FindMissingBlobs, request)
        missing = {
            Digest(message.hash, message.size_bytes, function)
            for message in response.missing_blob_digests
        }
        if not missing <= set(batch):
            raise ServerFailed("the server says that blobs are missing which it was not asked for")
        return missing

    async def read(self, digest: Digest, *, offset: int = 0) -> AsyncIterator[bytes]:
        if is_empty(digest):
            return
        if digest.size <= self._single_bytes:
            if rest := (await self._read_single(digest))[offset:]:
                yield rest
            return
        async with aclosing(self._streams.read(digest, offset)) as chunks:
            async for chunk in _verified(digest, chunks, offset):
                yield chunk

    async def _read_single(self, digest: Digest) -> bytes:
        found: dict[Digest, bytes] = {}
        await self._read_batch([digest], found)
        if digest not in found:
            raise BlobNotFound(digest)
        return found[digest]

    async def read_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        found = {digest: b"" for digest in digests if is_empty(digest)}

        async def fetch(batch: list[Digest]) -> None:
            if len(batch) > 1 or batch[0].size <= self._single_bytes:
                await self._read_batch(batch, found)
                return
            try:
                found[batch[0]] = await self.read_all(batch[0])
            except BlobNotFound:
                return

        wanted = set(digests) - found.keys()
        await each(fetch, _batches(wanted, _message_bytes, self._max_batch_bytes), width=CALLS)
        return found

    async def _read_batch(self, batch: list[Digest], found: dict[Digest, bytes]) -> None:
        """Add those of `batch` that are there, and are what they are called, to `found`."""
        function = batch[0].function
        request = reapi.BatchReadBlobsRequest(
            instance_name=self._instance_name,
            digests=map(digest_to, batch),
            digest_function=TO_WIRE[function],
        )
        response = await self._connection.call(self._stub.BatchReadBlobs, request)
        for entry in response.responses:
            digest = Digest(entry.digest.hash, entry.digest.size_bytes, function)
            if entry.status.code == Code.NOT_FOUND:
                continue
            if entry.status.code != Code.OK:
                raise from_status(entry.status, digest=digest)
            if Digest.of(entry.data, function) == digest:
                found[digest] = entry.data

    async def write(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        if is_empty(digest):
            return
        if digest.size > self._single_bytes:
            await self._streams.write(digest, chunks)
            return
        await self.write_all(await _gathered(digest, chunks), digest)

    async def write_all(self, data: bytes, digest: Digest) -> None:
        if is_empty(digest):
            return
        if len(data) > self._single_bytes:
            await self._streams.write(digest, _Once(data))
            return
        failed: dict[Digest, Exception] = {}
        await self._write_batch({digest: data}, failed)
        if digest in failed:
            raise failed[digest]

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, Exception]:
        failed: dict[Digest, Exception] = {}

        async def put(batch: list[Digest]) -> None:
            try:
                if len(batch) == 1:
                    await self.write_all(blobs[batch[0]], batch[0])
                else:
                    await self._write_batch({digest: blobs[digest] for digest in batch}, failed)
            except (DigestMismatch, OSError) as error:
                failed.update(dict.fromkeys(batch, error))

        def message_bytes(digest: Digest) -> int:
            return len(blobs[digest]) + ENTRY_BYTES

        wanted = [digest for digest in blobs if not is_empty(digest)]
        await each(put, _batches(wanted, message_bytes, self._max_batch_bytes), width=CALLS)
        return failed

    async def _write_batch(
        self, blobs: Mapping[Digest, bytes], failed: dict[Digest, Exception]
    ) -> None:
        """Upload `blobs` in one call; add those that are not kept to `failed`."""
        function = next(iter(blobs)).function
        request = reapi.BatchUpdateBlobsRequest(
            instance_name=self._instance_name, digest_function=TO_WIRE[function]
        )
        for digest, data in blobs.items():
            request.requests.add(digest=digest_to(digest), data=data)
        try:
            response = await self._connection.call(self._stub.BatchUpdateBlobs, request)
        except Overloaded as error:
            raise StoreFull(str(error)) from None
        unanswered = set(blobs)
        for entry in response.responses:
            digest = Digest(entry.digest.hash, entry.digest.size_bytes, function)
            unanswered.discard(digest)
            if entry.status.code != Code.OK:
                failed[digest] = from_status(entry.status, digest=digest)
        for digest in unanswered:
            failed[digest] = ServerFailed(f"the server does not say whether it kept blob {digest}")


class _Once(AsyncIterable[bytes]):
    """A blob in memory, as often as it is iterated over."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data


def _message_bytes(digest: Digest) -> int:
    return digest.size + ENTRY_BYTES


def _batches(
    digests: Collection[Digest], cost: Callable[[Digest], int], limit: int
) -> Iterator[list[Digest]]:
    """Split `digests` by function and so that a batch costs at most `limit`, or is one digest."""
    for function in DigestFunction:
        batch: list[Digest] = []
        spent = 0
        for digest in sorted(digests, key=cost):
            if digest.function is not function:
                continue
            if batch and spent + cost(digest) > limit:
                yield batch
                batch, spent = [], 0
            batch.append(digest)
            spent += cost(digest)
        if batch:
            yield batch


async def _gathered(digest: Digest, chunks: AsyncIterable[Chunk]) -> bytes:
    """Return all `chunks`, which are to be held in memory: raise DigestMismatch if too long."""
    held: list[Chunk] = []
    hasher, size = digest.function.hasher(digest.size), 0
    async for chunk in chunks:
        hasher.update(chunk)
        size += len(chunk)
        if size <= digest.size:
            held.append(chunk)
    if (found := digest.found(hasher, size)) != digest:
        raise DigestMismatch(expected=digest, found=found)
    return b"".join(held)


async def _verified(
    digest: Digest, chunks: AsyncGenerator[bytes, None], offset: int
) -> AsyncIterator[bytes]:
    """Pass `chunks` on, each when the next one is there, and the last when all are right.

    From another offset than 0 only the number of bytes can be checked.
    """
    hasher, size, held = digest.function.hasher(digest.size), offset, b""
    async for chunk in chunks:
        if held:
            yield held
        held = chunk
        size += len(chunk)
        if not offset:
            hasher.update(chunk)
        if size > digest.size:
            break
    if size != digest.size or (not offset and hasher.hexdigest() != digest.hash):
        raise BlobCorrupt(digest)
    if held:
        yield held
