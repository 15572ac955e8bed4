"""Putting blobs together from chunks that are there already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from cas.chunk_list import ChunksMissing, check_chunks
from cas.chunking.cutter import Chunking
from cas.chunks import buffered
from cas.digest import Digest
from cas.splits import Splits
from cas.splitting import Chunkings
from cas.store import BlobStore

REMEMBERED_BYTES = 1 << 20  # smaller blobs are as quickly read whole
COMPARED_BYTES = 8 << 20  # of a blob that is cut here too, to see how its client cut it


class Splicer:
    """Makes blobs of their chunks.

    at_once: bounds how many blobs are put together at one time. max_chunks: of one blob.
    """

    def __init__(
        self,
        blobs: BlobStore,
        splits: Splits,
        chunkings: Chunkings,
        *,
        at_once: asyncio.Semaphore,
        max_chunks: int,
    ) -> None:
        self._blobs = blobs
        self._splits = splits
        self._chunkings = chunkings
        self._at_once = at_once
        self._max_chunks = max_chunks

    async def splice(self, blob: Digest, chunks: Sequence[Digest], function: int) -> None:
        """Have `blob` in the store, made of `chunks` if it was not there.

        function: what the client says it cut by, by its number in the protocol. A blob that is
        there is leased with those of the chunks that are, and nothing else is done; it is no fault
        then that some have gone: the protocol lets such a request be a no-op, and there is nothing
        that a client would have to do.
        Raises ChunksUnfit; ChunksMissing; BlobNotFound for a chunk that is lost while it is read;
        DigestMismatch, StoreFull and BlobTooLarge as BlobStore.write does, which keeps nothing.

        Source: remote_execution.proto, ContentAddressableStorage.SpliceBlob: "The server MAY accept
        a request as no-op if the client-specified blob is already in CAS".
        """
        check_chunks(blob, chunks, max_chunks=self._max_chunks)
        missing = await self._blobs.find_missing({blob, *chunks})
        if blob not in missing:
            return
        if absent := missing - {blob}:
            raise ChunksMissing(absent)
        comparison = _Comparison(chunks, self._chunkings.find(function), blob)
        async with self._at_once:
            await self._blobs.write(blob, _compared(self._joined(chunks), comparison))
        if comparison.ended and blob.size >= REMEMBERED_BYTES and len(chunks) > 1:
            await self._splits.keep(blob, comparison.chunking, chunks)

    async def _joined(self, chunks: Sequence[Digest]) -> AsyncGenerator[bytes]:
        for chunk in chunks:
            async with aclosing(self._blobs.read(chunk)) as pieces:  # type: ignore[type-var]  # stores' are generators
                async for piece in pieces:
                    yield piece


class _Comparison:
    """Whether a client cut a blob as the function does that it names.

    What it says is believed where the sizes may be, and the start of the blob is cut here in the
    same places: that tells an implementation or parameters that are others. ended: all of the
    blob was seen, and so compared with its digest by who wrote it.
    """

    def __init__(self, chunks: Sequence[Digest], chunking: Chunking | None, blob: Digest) -> None:
        self._sizes = [chunk.size for chunk in chunks]
        self._claimed = chunking if chunking and self._may_be(chunking, blob) else None
        self._cutter = self._claimed.cutter() if self._claimed else None
        self._found: list[int] = []
        self._seen = 0
        self.ended = False

    def _may_be(self, chunking: Chunking, blob: Digest) -> bool:
        return (
            blob.size >= chunking.cut_from_bytes
            and min(self._sizes[:-1], default=0) >= chunking.least_bytes
            and max(self._sizes) <= chunking.most_bytes
        )

    def add(self, piece: bytes) -> None:
        if self._cutter and self._seen < COMPARED_BYTES:
            self._found += self._cutter.add(piece)
            self._seen += len(piece)

    def end(self) -> None:
        self.ended = True
        if self._cutter and self._seen == sum(self._sizes):
            self._found += self._cutter.finish()

    @property
    def chunking(self) -> Chunking | None:
        """What the blob was cut by, None where that is not known."""
        return self._claimed if self._found == self._sizes[: len(self._found)] else None


async def _compared(
    pieces: AsyncGenerator[bytes], comparison: _Comparison
) -> AsyncGenerator[bytes]:
    """Pass `pieces` on, fewer and larger."""
    async with aclosing(pieces), aclosing(buffered(pieces)) as groups:
        async for group in groups:
            piece = b"".join(group)
            await asyncio.to_thread(comparison.add, piece)
            yield piece
        await asyncio.to_thread(comparison.end)
