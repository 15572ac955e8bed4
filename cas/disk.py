"""Blobs on one machine's disk: small ones in the index, larger ones in a file each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from cas.chunks import buffered, collected
from cas.digest import EMPTY_HASHES, Digest, DigestFunction
from cas.disk_files import (
    Filed,
    Identity,
    identity_of,
    is_loss,
    read_checked,
)
from cas.disk_incoming import Incoming
from cas.disk_index import INLINE, PACKED, DiskIndex, digest_of, key_of
from cas.disk_lane import Lane
from cas.disk_placing import Placing
from cas.disk_room import LEASE_STEP, Room
from cas.environment import Environment, Read
from cas.packing import Packer, unpacked
from cas.store import (
    BlobCorrupt,
    BlobNotFound,
    BlobStore,
    BlobTooLarge,
    Chunk,
    DigestMismatch,
    StoreFull,
)
from cas.tree import is_empty

log = logging.getLogger(__name__)

REMEMBERED_TOUCHES = 50_000  # blobs whose lease was renewed a moment ago
STAT_INLINE = 32  # files to look at before it is worth a thread

Result = TypeVar("Result")


@dataclass(slots=True)
class DiskCounters:
    """What has happened since the store was opened."""

    quarantined: int = 0
    refused: int = 0


class DiskStore(BlobStore):
    """See docs/storage.md for the layout, and for what a crash can leave behind.

    clock: seconds since 1970, for leases.
    """

    def __init__(
        self,
        folder: Path,
        environment: Environment,
        index: DiskIndex,
        room: Room,
        *,
        threads: ThreadPoolExecutor,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._blobs = folder / "blobs"
        self._incoming = folder / "incoming"
        self._environment = environment
        self._index = index
        self._room = room
        self.limits = room.limits
        self._placing = Placing(folder, index, durable=room.limits.durable)
        self.counters = DiskCounters()
        self._threads = threads
        self._clock = clock
        self._on_drop: list[Callable[[Digest], object]] = []
        self._touched: set[Digest] = set()
        self._touched_until = 0.0
        index.on_drop(self._tell_dropped)

    # What there is

    async def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        now = int(self._clock())
        wanted = now + int(self.limits.lease_seconds)
        missing: set[Digest] = set()
        files: list[Filed] = []
        short: list[bytes] = []
        with self._environment.read() as read:
            for digest in digests:
                record = self._index.get(read, key := key_of(digest))
                if record is None:
                    if not is_empty(digest):
                        missing.add(digest)
                    continue
                if record.kind != INLINE:
                    files.append(Filed(digest, record.packed))
                if record.until < wanted:
                    short.append(key)
        missing |= await self._vanished(files)
        if short:
            missing |= await self._lease(short, wanted)
        return missing

    def named(self, function: DigestFunction, hash: str) -> Digest | None:
        """Return the digest of the blob that `hash` is of, if one is there: no size is known.

        hash: lowercase hexadecimal, as long as the function makes it.
        """
        if hash == EMPTY_HASHES[function]:
            return Digest(hash, 0, function)
        with self._environment.read() as read:
            return self._index.named(read, function, hash)

    async def _lease(self, keys: list[bytes], wanted: int) -> set[Digest]:
        """Hold `keys` until `wanted` and a step longer; return those that have gone."""
        until = wanted + int(self.limits.lease_seconds / LEASE_STEP)

        def lease(write: Read) -> list[bytes]:
            return [key for key in keys if not self._index.lease(write, key, until)]

        return {digest_of(key) for key in await self._environment.write(lease)}

    async def _vanished(self, files: list[Filed]) -> set[Digest]:
        """Return those of `files` that are gone or have another size, and forget them."""
        if len(files) <= STAT_INLINE:
            seen = self._identities(files)
        else:
            seen = await self._in_thread(lambda: self._identities(files))
        gone = {
            file.digest: identity
            for file, identity in zip(files, seen, strict=True)
            if identity is None or identity[1] != file.size
        }
        for digest, identity in gone.items():
            reason = "its file is gone" if identity is None else f"its file has {identity[1]} bytes"
            await self._lost(digest, identity, reason)
        return set(gone)

    def _identities(self, files: list[Filed]) -> list[Identity]:
        return [identity_of(file.path(self._blobs)) for file in files]

    # Reading

    async def read(self, digest: Digest, *, offset: int = 0) -> AsyncIterator[bytes]:
        if is_empty(digest):
            return
        key = key_of(digest)
        with self._environment.read() as read:
            record = self._index.get(read, key)
            data = self._index.data(read, key) if record and record.kind == INLINE else None
            sums = self._index.sums(read, key) if record and record.kind != INLINE else b""
        if record is None:
            raise BlobNotFound(digest)
        self._touch([digest])
        if record.kind != INLINE:
            async with aclosing(
                self._read_plain(Filed(digest, record.packed, sums), offset)
            ) as chunks:
                async for chunk in chunks:
                    yield chunk
        elif data is None:
            await self._lost(digest, None, "its bytes in the index have changed")
            raise BlobNotFound(digest)
        elif chunk := data[offset:]:
            yield chunk

    def read_packed(self, digest: Digest) -> AsyncIterator[bytes] | None:
        with self._environment.read() as read:
            record = self._index.get(read, key := key_of(digest))
            if record is None or record.kind != PACKED:
                return None
            file = Filed(digest, record.packed, self._index.sums(read, key))
        self._touch([digest])
        return self._read_file(file, read_checked(self._blobs, file))

    def _read_plain(self, file: Filed, offset: int) -> AsyncGenerator[bytes]:
        """Read the blob itself from `offset` on; a frame is decoded from its start even so."""
        if not file.packed:
            return self._read_file(file, read_checked(self._blobs, file, offset))
        decoded = unpacked(read_checked(self._blobs, file), file.digest.size)
        return self._read_file(file, decoded, skipped=offset)

    async def _read_file(
        self, file: Filed, chunks: Generator[bytes], *, skipped: int = 0
    ) -> AsyncGenerator[bytes]:
        """Yield `chunks` but for the first `skipped` bytes, and see to it where they are lost."""
        lane = Lane(self._threads)
        seen = identity_of(file.path(self._blobs))
        begun = False
        try:
            while chunk := await lane.run(lambda: next(chunks, b"")):
                if part := chunk[skipped:]:
                    begun = True
                    yield part
                skipped = max(0, skipped - len(chunk))
        except (OSError, ValueError) as error:
            if not is_loss(error):
                raise
            await self._lost(file.digest, seen, str(error), file.sums)
            raise (BlobCorrupt if begun else BlobNotFound)(file.digest) from error
        finally:
            lane.close(chunks.close)

    async def read_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        found: dict[Digest, bytes] = {}
        others: list[Digest] = []
        with self._environment.read() as read:
            for digest in digests:
                if (data := self._index.data(read, key_of(digest))) is None:
                    others.append(digest)
                else:
                    found[digest] = data
        self._touch(found)
        return found | await super().read_many(others) if others else found

    async def read_joined(
        self, digests: Iterable[Digest], before: Callable[[Digest], bytes]
    ) -> tuple[bytes, list[Digest]]:
        with self._environment.view() as view:
            joined, found, others = self._index.join(view, digests, before)
        self._touch(found)
        if others:
            rest, others = await super().read_joined(others, before)
            joined += rest
        return joined, others

    def _touch(self, digests: Iterable[Digest]) -> None:
        """Hold blobs that were read as long as if they were uploaded now.

        What was touched within a step of that time is not looked at again.
        """
        now = self._clock()
        if now > self._touched_until or len(self._touched) > REMEMBERED_TOUCHES:
            self._touched.clear()
            self._touched_until = now + self.limits.upload_lease_seconds / LEASE_STEP
        new = [digest for digest in digests if digest not in self._touched]
        if new:
            self._touched.update(new)
            self._renew([key_of(digest) for digest in new], now)

    def _renew(self, keys: list[bytes], now: float) -> None:
        promised = now + self.limits.upload_lease_seconds
        with self._environment.read() as read:
            records = {key: self._index.get(read, key) for key in keys}
        short = [key for key, record in records.items() if record and record.until < promised]
        if short:
            until = self._upload_until()
            self._environment.write_soon(
                lambda write: [self._index.lease(write, key, until) for key in short]
            )

    # Writing

    async def write(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        if is_empty(digest) or digest not in await self.find_missing([digest]):
            return
        if digest.size <= self.limits.inline_bytes:
            data = await collected(digest, chunks)
            if failed := await self.write_many({digest: data}):
                raise failed[digest]
            return
        try:
            async with self._room.reserved(digest.size):
                await self._write_file(digest, chunks)
        except StoreFull:
            self.counters.refused += 1
            raise

    async def _write_file(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        lane = Lane(self._threads)
        with _refusals():
            incoming = Incoming(self._incoming / uuid4().hex, digest, self._packer(digest))
        try:
            async with aclosing(buffered(chunks)) as parts:
                async for part in parts:
                    size = incoming.size + sum(map(len, part))
                    if size > digest.size:
                        raise DigestMismatch(expected=digest, found=digest._replace(size=size))
                    with _refusals():
                        await lane.run(partial(incoming.add_all, part))
            with _refusals():
                found = await lane.run(lambda: incoming.finish(durable=self.limits.durable))
            if found != digest:
                raise DigestMismatch(expected=digest, found=found)
            await self._adopt(digest, incoming)
        finally:
            lane.close(incoming.discard)

    def _packer(self, digest: Digest) -> Packer | None:
        if not self.limits.compression:
            return None
        return Packer(digest.size, least_saved=self.limits.compression_saves)

    async def _adopt(self, digest: Digest, incoming: Incoming) -> None:
        until = self._upload_until()
        # A frame can be larger than the blob, by next to nothing, where only its start compresses.
        async with self._room.reserved(max(0, incoming.packed - digest.size)):
            with _refusals():
                await self._environment.write(
                    lambda write: self._placing.adopt(write, digest, incoming, until)
                )

    async def write_many(self, blobs: Mapping[Digest, bytes]) -> dict[Digest, Exception]:
        small: dict[Digest, bytes] = {}
        large: dict[Digest, bytes] = {}
        failed: dict[Digest, Exception] = {}
        for digest, data in blobs.items():
            if digest.size > self.limits.inline_bytes:
                large[digest] = data
            elif (found := Digest.of(data, digest.function)) == digest:
                small[digest] = data
            elif not is_empty(digest) and digest in await self.find_missing([digest]):
                failed[digest] = DigestMismatch(expected=digest, found=found)
        if large:
            failed |= await super().write_many(large)
        if small:
            failed |= await self._write_inline(small)
        return failed

    async def _write_inline(self, small: dict[Digest, bytes]) -> dict[Digest, Exception]:
        until = self._upload_until()
        keyed = {key_of(digest): data for digest, data in small.items() if data}
        try:
            async with self._room.reserved(sum(map(len, small.values()))):
                await self._environment.write(
                    lambda write: self._index.put_inline(write, keyed, until)
                )
        except (BlobTooLarge, StoreFull) as error:
            self.counters.refused += 1
            return dict.fromkeys(small, error)
        return {}

    def _upload_until(self) -> int:
        """Return until when a blob stays that came now: a step longer than is promised."""
        return int(self._clock() + self.limits.upload_lease_seconds * (1 + 1 / LEASE_STEP))

    # What is lost

    def on_drop(self, dropped: Callable[[Digest], object]) -> None:
        """Call `dropped` with each blob that goes, from any thread, before it is gone."""
        self._on_drop.append(dropped)

    def _tell_dropped(self, write: Read, key: bytes) -> None:
        for dropped in self._on_drop:
            dropped(digest_of(key))

    async def _lost(self, digest: Digest, seen: Identity, reason: str, sums: bytes = b"") -> None:
        """Forget a blob whose bytes are not what was written, and set its file aside.

        As Placing.set_aside, whose parameters these are.
        """
        try:
            lost = await self._environment.write(
                lambda write: self._placing.set_aside(write, digest, seen, sums)
            )
        except StoreFull as error:
            log.warning("blob %s is lost, %s, and stays in the index: %s", digest, reason, error)
            return
        if lost:
            self.counters.quarantined += 1
            log.warning("blob %s is lost: %s; the next upload brings it back", digest, reason)

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise StoreFull where the disk refuses what the block does."""
    try:
        yield
    except StoreFull:
        raise
    except OSError as error:
        log.warning("the disk of the store refuses writes: %s", error)
        reason = error.strerror or error
        raise StoreFull(f"the disk of the store refuses writes: {reason}") from error
