"""A store of blobs and results on a disk, and results whose blobs are in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from action_cache.disk import DiskResults
from action_cache.results import ActionKey, Kept, Pin, Slot
from cas.digest import Digest
from cas.disk_index import key_of
from cas.disk_open import OpenStore
from protos import remote_execution_pb2 as reapi
from tests.cas.disks import Clock, opened

NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Stored:
    """An open store, and the results in it."""

    store: OpenStore
    results: DiskResults

    async def put(self, *blobs: bytes) -> list[Digest]:
        wanted = {Digest.of(data): data for data in blobs}
        assert await self.store.blobs.write_many(wanted) == {}
        return [Digest.of(data) for data in blobs]

    async def kept(self, *outputs: bytes, worker: str = "w") -> Kept:
        """Upload `outputs`; return a result that refers to them."""
        digests = await self.put(*outputs)
        result = reapi.ActionResult()
        result.execution_metadata.worker = worker
        for number, digest in enumerate(digests):
            file = result.output_files.add(path=f"out{number}")
            file.digest.hash, file.digest.size_bytes = digest.hash, digest.size
        return Kept(result.SerializeToString(deterministic=True), frozenset(digests))

    async def drop(self, digests: Iterable[Digest]) -> None:
        """Have blobs go as an eviction has them go, in one transaction."""
        keys = [key_of(digest) for digest in digests]
        await self.store.environment.write(
            lambda write: [self.store.index.drop(write, key) for key in keys]
        )

    async def set(self, key: ActionKey, entry: Kept | None, pin: Pin | None = None) -> Slot:
        """Replace what is known of `key`."""
        return await self.results.change(key, lambda _: Slot(entry, pin, intact=True))

    async def slot(self, key: ActionKey) -> Slot:
        """Return what a change is given to decide about."""
        seen: list[Slot] = []

        def look(slot: Slot) -> Slot:
            seen.append(slot)
            return slot

        await self.results.change(key, look)
        return seen[-1]

    def referrers(self) -> int:
        """Return how many notes there are of an entry that refers to a blob."""
        database = self.store.environment.database("referrers", duplicates=True)
        with self.store.environment.read() as read:
            return int(read.stat(database)["entries"])


@contextmanager
def stored(folder: Path, *, clock: Clock | None = None) -> Iterator[Stored]:
    with opened(folder, clock=clock) as store:
        yield Stored(store, DiskResults(store.environment, store.index))


def pin_of(kept: Kept) -> Pin:
    return Pin(kept, first_seen=NOW, last_seen=NOW)


def action(number: int = 0, *, instance: str = "main") -> ActionKey:
    return ActionKey(instance, Digest.of(b"action %d" % number))
