"""How much a disk store may hold, and what goes when it is full."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cas.disk_files import blob_path
from cas.disk_index import PACKED, DiskIndex, PackedTotals, Totals, digest_of
from cas.environment import Environment, Read
from cas.store import BlobTooLarge, StoreFull

log = logging.getLogger(__name__)

LEASE_STEP = 24  # a lease is renewed when this part of it has gone, not at every touch
EVICT_BATCH = 256  # blobs that go in one transaction
FULL_BATCH = 16  # the same where the disk is full, which a transaction needs some of even so
BALLAST_BYTES = 1 << 20  # disk space that is given up for such transactions


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Bounds of a disk store; seconds and bytes. re_config.schema.Disk says what each does."""

    max_bytes: int
    high_water: float = 0.95
    low_water: float = 0.85
    lease_seconds: float = 12 * 3600
    upload_lease_seconds: float = 3600
    inline_bytes: int = 16 * 1024
    durable: bool = False
    compression: bool = False
    compression_saves: float = 0.2


@dataclass(slots=True)
class Evicted:
    """What went."""

    blobs: int = 0
    bytes: int = 0


class Room:
    """The room of the store whose files lie below `folder`.

    clock: seconds since 1970, for leases.
    """

    def __init__(
        self,
        folder: Path,
        environment: Environment,
        index: DiskIndex,
        limits: DiskLimits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._ballast = folder.with_name("ballast")
        self._environment = environment
        self._index = index
        self.limits = limits
        self.evicted = Evicted()
        self._clock = clock
        self._incoming_bytes = 0
        self._evicting = asyncio.Lock()
        self._making_room = asyncio.Lock()

    def totals(self) -> Totals:
        with self._environment.read() as read:
            return self._index.totals(read)

    def packed_totals(self) -> PackedTotals:
        with self._environment.read() as read:
            return self._index.packed_totals(read)

    @asynccontextmanager
    async def reserved(self, size: int) -> AsyncIterator[None]:
        """Keep room for `size` bytes during the block, evicting if need be; raise StoreFull."""
        if size and self._held() + size > self.limits.max_bytes:
            async with self._making_room:  # one at a time, or they count on the same bytes
                await self._make_room(size)
        self._incoming_bytes += size
        try:
            yield
        finally:
            self._incoming_bytes -= size

    async def _make_room(self, size: int) -> None:
        limit = self.limits.max_bytes
        if size > limit:
            raise BlobTooLarge(f"{size} bytes are more than store.max_bytes = {limit}; raise it")
        while self._held() + size > limit:
            gone = await self.evict(max(0, limit - self._incoming_bytes - size))
            if not gone.blobs and self._held() + size > limit:
                raise StoreFull(
                    f"no room for {size} bytes: {self._held()} of store.max_bytes = {limit} are "
                    "in use and nothing else may be evicted now; raise store.max_bytes or lower "
                    "store.lease_seconds"
                )

    def _held(self) -> int:
        return self.totals().bytes + self._incoming_bytes

    async def evict(self, target_bytes: int) -> Evicted:
        """Drop unleased blobs, those first whose lease ended first, until `target_bytes` are left.

        Marked ones go when nothing else is left that may. Returns what went. Results that refer to
        it are dropped in the same transaction.
        """
        gone = Evicted()
        async with self._evicting:
            looked_at = True
            while looked_at:
                batch, looked_at = await self._evict_some(target_bytes)
                gone.blobs += batch.blobs
                gone.bytes += batch.bytes
            make_ballast(self._ballast)
        self.evicted.blobs += gone.blobs
        self.evicted.bytes += gone.bytes
        if gone.blobs:
            log.info("evicted %d blobs of %d bytes in all", gone.blobs, gone.bytes)
        return gone

    async def _evict_some(self, target_bytes: int) -> tuple[Evicted, bool]:
        """Drop one batch; where the disk is full, a smaller one in the place of the ballast."""
        try:
            return await self._environment.write(
                lambda write: self._evict_batch(write, target_bytes, EVICT_BATCH)
            )
        except StoreFull as error:
            log.warning("evicting in small steps: %s", error)
            self._ballast.unlink(missing_ok=True)
            return await self._environment.write(
                lambda write: self._evict_batch(write, target_bytes, FULL_BATCH)
            )

    def _evict_batch(self, write: Read, target_bytes: int, most: int) -> tuple[Evicted, bool]:
        """Return what went, and whether any blob was looked at: if not, there is no more to do."""
        before = self._index.totals(write).bytes
        now = int(self._clock())
        due = self._index.due(write, now, max_bytes=before - target_bytes, most=most)
        self._index.put_off(write, due.put_off)
        for key in due.going:
            record = self._index.drop(write, key)
            assert record is not None
            path = blob_path(self._folder, digest_of(key), packed=record.kind == PACKED)
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - half the time of Path
        gone = Evicted(len(due.going), before - self._index.totals(write).bytes)
        return gone, bool(due.going or due.put_off)

    async def keep(self, *, every_seconds: float = 5) -> None:
        """Evict down to the low-water mark whenever the high one is passed, for ever."""
        while True:
            if self.totals().bytes > self.limits.high_water * self.limits.max_bytes:
                try:
                    await self.evict(int(self.limits.low_water * self.limits.max_bytes))
                except StoreFull as error:
                    log.warning("cannot evict now, will try again: %s", error)
            await asyncio.sleep(every_seconds)


def make_ballast(path: Path) -> None:
    """Hold some disk space, unless there is none: even removing blobs from the index takes some."""
    if path.exists():
        return
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
    except OSError as error:
        path.unlink(missing_ok=True)
        log.warning("the disk of the store has no %d bytes to spare: %s", BALLAST_BYTES, error)
