"""A few blobs in memory, in front of the store that they came from."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping

from cas.digest import Digest
from cas.store import BlobStore, Chunk

MAX_BYTES = 4 << 20  # of a blob that is read ahead


class PrefetchedStore(BlobStore):
    """Reads `found` from memory, and everything else from `inner`."""

    def __init__(self, inner: BlobStore, found: Mapping[Digest, bytes]) -> None:
        self._inner = inner
        self._found = found

    async def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        return await self._inner.find_missing(digests)

    async def read(self, digest: Digest, *, offset: int = 0) -> AsyncIterator[bytes]:
        if digest in self._found:
            if chunk := self._found[digest][offset:]:
                yield chunk
            return
        async for chunk in self._inner.read(digest, offset=offset):
            yield chunk

    async def read_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        found = {digest: self._found[digest] for digest in digests if digest in self._found}
        others = [digest for digest in digests if digest not in found]
        return found | await self._inner.read_many(others) if others else found

    async def write(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        await self._inner.write(digest, chunks)


async def prefetched(store: BlobStore, digests: Collection[Digest]) -> PrefetchedStore:
    """Read those of `digests` that are there and small at once; return a store that has them."""
    small = {digest for digest in digests if digest.size <= MAX_BYTES}
    return PrefetchedStore(store, await store.read_many(small))
