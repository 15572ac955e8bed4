"""Splitting blobs into chunks that similar blobs share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from weakref import WeakValueDictionary

from cas.chunking.cutter import Chunking, ChunkingFunction, Cutter
from cas.chunking.fast_cdc import FastCdc
from cas.chunking.rep_max_cdc import RepMaxCdc
from cas.digest import Digest, DigestFunction
from cas.disk_room import Room
from cas.splits import Splits
from cas.store import BlobNotFound, BlobStore


@dataclass(frozen=True, slots=True)
class Split:
    """chunks: in order; joined they are the blob. function: what cut it, UNKNOWN for a client."""

    chunks: Sequence[Digest]
    function: ChunkingFunction


@dataclass(frozen=True, slots=True)
class Chunkings:
    """How blobs are cut here."""

    fast_cdc: FastCdc
    rep_max_cdc: RepMaxCdc

    @property
    def default(self) -> Chunking:
        """What is taken where a client asks for none, or for one that there is not."""
        return self.fast_cdc

    def find(self, function: int) -> Chunking | None:
        """Return the chunking of a function by its number in the protocol."""
        offered: tuple[Chunking, ...] = (self.fast_cdc, self.rep_max_cdc)
        return next((one for one in offered if one.function == function), None)


class Splitter:
    """Cuts blobs, each once for each chunking while its chunks are there.

    at_once: bounds how many blobs are cut at one time. max_chunks: blobs that might have more stay
    whole.
    """

    def __init__(
        self,
        blobs: BlobStore,
        splits: Splits,
        room: Room,
        chunkings: Chunkings,
        *,
        at_once: asyncio.Semaphore,
        max_chunks: int,
    ) -> None:
        self._blobs = blobs
        self._splits = splits
        self._room = room
        self._chunkings = chunkings
        self._at_once = at_once
        self._max_chunks = max_chunks
        self._cutting: WeakValueDictionary[tuple[Digest, Chunking], asyncio.Lock] = (
            WeakValueDictionary()
        )

    async def split(self, blob: Digest, function: int) -> Split:
        """Return the chunks of `blob`, which are all there and leased as find_missing leases.

        function: what is asked for, by its number in the protocol. The blob is leased too. Chunks
        of a list that is remembered are not read: one whose bytes have changed is handed out until
        somebody reads it, as find_missing has it, and the blob is cut anew after that. The empty
        blob is its own only chunk, as every blob is that stays whole: it is always there.
        Raises BlobNotFound if the blob is not there or is lost while it is read; StoreFull, before
        it is read where there is no room for as many bytes again.

        Source: remote_execution.proto, ContentAddressableStorage.SplitBlob.
        """
        asked = self._chunkings.find(function)
        chunking = asked or self._chunkings.default
        lock = self._cutting.setdefault((blob, chunking), asyncio.Lock())
        async with lock:  # who comes second finds what the first has remembered
            if remembered := await self._remembered(blob, chunking):
                return Split(remembered, chunking.function)
            if asked is None and (remembered := await self._remembered(blob, None)):
                return Split(remembered, ChunkingFunction.UNKNOWN)
            if await self._blobs.find_missing([blob]):
                raise BlobNotFound(blob)
            if blob.size < chunking.cut_from_bytes:
                return Split([blob], chunking.function)
            if blob.size > self._max_chunks * chunking.least_bytes:
                return Split([blob], ChunkingFunction.UNKNOWN)
            async with self._at_once:
                chunks = await self._cut(blob, chunking)
        return Split(chunks, chunking.function)

    async def _remembered(self, blob: Digest, chunking: Chunking | None) -> list[Digest] | None:
        """Return and lease the chunks that are remembered, if they are all there."""
        chunks = self._splits.find(blob, chunking)
        if chunks is None:
            return None
        missing = await self._blobs.find_missing({blob, *chunks})
        return None if missing else chunks

    async def _cut(self, blob: Digest, chunking: Chunking) -> list[Digest]:
        """Cut `blob`, keep its chunks, and remember them."""
        async with self._room.reserved(blob.size):
            pass  # a split that cannot end would fill the store with chunks that nobody asked for
        named = _NamedChunks(chunking.cutter(), blob.function)
        chunks: list[Digest] = []
        ready: list[tuple[Digest, bytes]] = []
        async with aclosing(self._blobs.read(blob)) as pieces:  # type: ignore[type-var]  # stores' are generators
            async for piece in pieces:
                ahead = asyncio.ensure_future(asyncio.to_thread(named.add, piece))
                try:
                    chunks += await self._kept(ready)
                finally:
                    ready = await ahead
        chunks += await self._kept(ready + await asyncio.to_thread(named.finish))
        if missing := await self._blobs.find_missing({blob, *chunks}):
            raise BlobNotFound(min(missing))
        await self._splits.keep(blob, chunking, chunks)
        return chunks

    async def _kept(self, chunks: list[tuple[Digest, bytes]]) -> list[Digest]:
        for digest, data in chunks:
            await self._blobs.write_all(data, digest)
        return [digest for digest, _ in chunks]


class _NamedChunks:
    """Pieces of a blob in, its chunks and their names out."""

    def __init__(self, cutter: Cutter, function: DigestFunction) -> None:
        self._cutter = cutter
        self._function = function
        self._uncut: deque[memoryview] = deque()

    def add(self, piece: bytes) -> list[tuple[Digest, bytes]]:
        self._uncut.append(memoryview(piece))
        return self._named(self._cutter.add(piece))

    def finish(self) -> list[tuple[Digest, bytes]]:
        return self._named(self._cutter.finish())

    def _named(self, sizes: Iterable[int]) -> list[tuple[Digest, bytes]]:
        chunks = [self._take(size) for size in sizes]
        return [(Digest.of(data, self._function), data) for data in chunks]

    def _take(self, size: int) -> bytes:
        parts: list[memoryview] = []
        while size:
            piece = self._uncut.popleft()
            parts.append(piece[:size])
            if len(piece) > size:
                self._uncut.appendleft(piece[size:])
            size -= len(parts[-1])
        return b"".join(parts)
