"""How blobs were split, kept in the index of a disk store beside them."""

from __future__ import annotations

from collections.abc import Iterable

from cas.chunking.cutter import Chunking, ChunkingFunction
from cas.digest import Digest
from cas.disk_index import DiskIndex, digest_of, key_of
from cas.environment import Database, Environment, Read


class Splits:
    """Lists of chunks: for each blob one by each chunking, and one that a client made its own way.

    Those who keep a list have seen that its chunks, joined, are the blob, which stays true. A list
    says nothing of whether its chunks are there. It goes with its blob: docs/storage.md.
    """

    def __init__(self, environment: Environment, index: DiskIndex) -> None:
        self._environment = environment
        self._index = index
        self._splits: Database = environment.database("splits")
        index.on_drop(self._drop)

    def find(self, blob: Digest, chunking: Chunking | None) -> list[Digest] | None:
        """Return the chunks of `blob` in order. chunking: None for what a client cut."""
        with self._environment.read() as read:
            kept = read.get(_key(blob, chunking), db=self._splits)
        if kept is None:
            return None
        size = len(key_of(blob))
        return [digest_of(kept[at : at + size]) for at in range(0, len(kept), size)]

    async def keep(self, blob: Digest, chunking: Chunking | None, chunks: Iterable[Digest]) -> None:
        """Remember the chunks of `blob`, unless it has gone; raise StoreFull."""
        key = _key(blob, chunking)
        kept = b"".join(map(key_of, chunks))

        def keep(write: Read) -> None:
            if self._index.get(write, key_of(blob)) is not None:
                write.put(key, kept, db=self._splits)

        await self._environment.write(keep)

    def _drop(self, write: Read, blob: bytes) -> None:
        with write.cursor(db=self._splits) as cursor:
            found = cursor.set_range(blob)
            while found and cursor.key().startswith(blob):
                found = cursor.delete()


def _key(blob: Digest, chunking: Chunking | None) -> bytes:
    """Return the blob's key, then the function (1 byte) and what tells its parameters."""
    if chunking is None:
        return key_of(blob) + bytes([ChunkingFunction.UNKNOWN])
    return key_of(blob) + bytes([chunking.function]) + chunking.parameters
