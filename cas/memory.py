"""Blobs in memory."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable

from cas.digest import Digest
from cas.store import BlobNotFound, BlobStore, Chunk, DigestMismatch
from cas.tree import is_empty


class MemoryStore(BlobStore):
    """Keeps every blob until the process ends: for tests, and for one client's own use."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    async def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        return {digest for digest in digests if digest not in self._blobs and not is_empty(digest)}

    async def read(self, digest: Digest, *, offset: int = 0) -> AsyncIterator[bytes]:
        if is_empty(digest):
            return
        if digest not in self._blobs:
            raise BlobNotFound(digest)
        if chunk := self._blobs[digest][offset:]:
            yield chunk

    async def write(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        data = b"".join([chunk async for chunk in chunks])
        found = Digest.of(data, digest.function)
        if found != digest:
            raise DigestMismatch(expected=digest, found=found)
        self._blobs[digest] = data
