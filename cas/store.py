"""What a store of blobs is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Mapping

from cas.digest import Digest

Chunk = bytes | memoryview  # part of a blob on its way in


class BlobNotFound(LookupError):
    """The store has no such blob, or no longer has all of its bytes."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"blob {digest} is not in the store")
        self.digest = digest


class BlobCorrupt(BlobNotFound):
    """Part of the blob was read before its bytes were found to be wrong.

    The blob is gone from the store from then on, and the next upload brings it back.
    """


class DigestMismatch(ValueError):
    """The bytes given are not those that the digest names."""

    def __init__(self, *, expected: Digest, found: Digest) -> None:
        super().__init__(f"the bytes given are {found}, not {expected}")
        self.expected = expected
        self.found = found


class BlobTooLarge(ValueError):
    """The blob would not fit if the store were empty."""


class StoreFull(OSError):
    """There is no room, and nothing that may be evicted to make some."""


class BlobStore(ABC):
    """Three primitives, and the conveniences that follow from them.

    The conveniences go through the primitives of the same object, so a decorator
    that overrides the three is complete. Override a convenience for speed alone.
    The empty blob of every digest function is always there.
    """

    @abstractmethod
    async def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Return those of `digests` that `read` would not find; the others are leased.

        A blob whose bytes have changed is found until somebody reads it. Raises StoreFull if there
        is no room to note the leases.
        """

    @abstractmethod
    def read(self, digest: Digest, *, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield the blob's bytes from `offset` on, in chunks that are never empty.

        offset: bytes, 0 to the blob's size.
        Raises BlobNotFound before the first chunk; after it only BlobCorrupt, in place of the
        first chunk that is not what was written. Close it (aclosing) if it is not read to its end.
        """

    @abstractmethod
    async def write(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        """Keep `chunks` under `digest`: all of them, or none if `chunks` raises.

        A blob that is there already is kept as it is, and `chunks` need not be read to its end.
        Raises DigestMismatch if the bytes are not the digest's, StoreFull if there is no room now,
        BlobTooLarge if there never is.
        """

    async def read_all(self, digest: Digest) -> bytes:
        """Return the whole blob; raise BlobNotFound."""
        return b"".join([chunk async for chunk in self.read(digest)])

    def read_packed(self, digest: Digest) -> AsyncIterator[bytes] | None:
        """Return the blob as one zstd frame where the store has it so, else None.

        It is to be sent as it is: what comes is what was stored, or BlobNotFound and BlobCorrupt
        as from `read`.
        """
        return None

    async def read_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        """Return the whole of those of `digests` that are there."""
        found: dict[Digest, bytes] = {}
        for digest in digests:
            try:
                found[digest] = await self.read_all(digest)
            except BlobNotFound:
                continue
        return found

    async def read_joined(
        self, digests: Iterable[Digest], before: Callable[[Digest], bytes]
    ) -> tuple[bytes, list[Digest]]:
        """Return all of `digests` that are there as one string, and those that are not.

        before: what goes before each blob. The blobs are in any order.
        """
        wanted = list(digests)
        found = await self.read_many(wanted)
        parts = [
            part for digest in wanted if digest in found for part in (before(digest), found[digest])
        ]
        return b"".join(parts), [digest for digest in wanted if digest not in found]

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, Exception]:
        """Keep each of `blobs`; return what went wrong with those that are not kept."""
        failed: dict[Digest, Exception] = {}
        for digest, data in blobs.items():
            try:
                await self.write(digest, _once(data))
            except (DigestMismatch, BlobTooLarge, OSError) as error:
                failed[digest] = error
        return failed

    async def write_all(self, data: bytes, digest: Digest) -> None:
        """Keep one blob that is in memory; raise what `write` raises."""
        await self.write(digest, _once(data))


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data
