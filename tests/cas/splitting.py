"""Splitters and splicers over disk stores, and what they read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from cas.chunking.cutter import Chunking
from cas.chunking.fast_cdc import FastCdc
from cas.chunking.rep_max_cdc import RepMaxCdc
from cas.digest import Digest
from cas.disk_open import OpenStore
from cas.splicing import Splicer
from cas.splits import Splits
from cas.splitting import Chunkings, Splitter
from cas.store import BlobStore, Chunk
from tests.cas.stores import named, put

KIB = 1 << 10
CHUNKINGS = Chunkings(FastCdc(64 * KIB), RepMaxCdc(32 * KIB, 256 * KIB))
MAX_CHUNKS = 1000


class CountedStore(BlobStore):
    """Counts the blobs that are read. reading: set by the first."""

    def __init__(self, inner: BlobStore) -> None:
        self._inner = inner
        self.reads = 0
        self.reading = asyncio.Event()

    async def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        return await self._inner.find_missing(digests)

    async def read(self, digest: Digest, *, offset: int = 0) -> AsyncIterator[bytes]:
        self.reads += 1
        self.reading.set()
        async for chunk in self._inner.read(digest, offset=offset):
            yield chunk

    async def write(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        await self._inner.write(digest, chunks)


@dataclass
class Chunked:
    """An open store, with what splits and splices its blobs."""

    store: OpenStore
    chunkings: Chunkings = CHUNKINGS
    blobs: CountedStore = field(init=False)
    splits: Splits = field(init=False)
    splitter: Splitter = field(init=False)
    splicer: Splicer = field(init=False)

    def __post_init__(self) -> None:
        self.blobs = CountedStore(self.store.blobs)
        self.splits = Splits(self.store.environment, self.store.index)
        at_once = asyncio.Semaphore(2)
        self.splitter = Splitter(
            self.blobs,
            self.splits,
            self.store.room,
            self.chunkings,
            at_once=at_once,
            max_chunks=MAX_CHUNKS,
        )
        self.splicer = Splicer(
            self.blobs, self.splits, self.chunkings, at_once=at_once, max_chunks=MAX_CHUNKS
        )

    def lists(self) -> int:
        """Return how many lists of chunks are remembered."""
        database = self.store.environment.database("splits")
        with self.store.environment.read() as read:
            return int(read.stat(database)["entries"])

    async def joined(self, chunks: Iterable[Digest]) -> bytes:
        return b"".join([await self.blobs.read_all(chunk) for chunk in chunks])


def cut(chunking: Chunking, data: bytes) -> list[bytes]:
    cutter = chunking.cutter()
    return cut_at(data, cutter.add(data) + cutter.finish())


def cut_at(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]


async def put_all(store: BlobStore, chunks: Iterable[bytes]) -> list[Digest]:
    return [await put(store, data) for data in chunks]


def blob_of(chunks: Iterable[bytes]) -> Digest:
    return named(b"".join(chunks))
