"""Uploads that are under way, across connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from access.admission import Admission
from access.identity import Identity, current_identity
from cas.digest import Digest
from cas.store import BlobStore, Chunk, DigestMismatch
from re_client.status import Overloaded, Unserved
from re_server.resource_name import Resource

QUEUED_PARTS = 2  # between a connection and the store; each is about PART_BYTES
PART_BYTES = 256 * 1024  # what is collected before it is handed on: Bazel sends 16 KiB at a time
LOOK_BYTES = 1 << 20  # received between two looks at whether the blob is there already
HELD = "open_writes"  # what of a caller's limits they count for
IDLE_SECONDS = 3600  # how long an upload that was broken off can be gone on with


class OpenWrite:
    """One upload: bytes come from whatever connection holds it, and go into one store write.

    received: bytes of the blob so far, without compression, which is where a client that comes
    back goes on. holder: what tells connections apart. owner: who began it.
    """

    def __init__(self, resource: Resource, blobs: BlobStore, owner: Identity) -> None:
        self.resource = resource
        self.owner = owner
        self.received = 0
        self.used = time.monotonic()
        self.holder: object = None
        self._decoder = resource.codec.decoder() if resource.codec else None
        self._parts: asyncio.Queue[list[Chunk] | None] = asyncio.Queue(QUEUED_PARTS)
        self._collected: list[Chunk] = []
        self._collected_bytes = 0
        self._blobs = blobs
        self._looked_at = 0
        self._there = False
        self._task = asyncio.create_task(blobs.write(resource.digest, self._chunks()))
        self._task.add_done_callback(self._let_go)

    @property
    def ended(self) -> bool:
        """Whether the store wants no more: it has the blob already, or cannot take it."""
        return self._there or self._task.done()

    def resume(self) -> None:
        """Begin a new compressed stream at `received`.

        Source: remote_execution.proto, service ContentAddressableStorage: the first offset of a
        compressed upload counts bytes of the blob, what follows it is a stream of its own.
        """
        if self.resource.codec:
            self._decoder = self.resource.codec.decoder()

    async def add(self, data: Chunk) -> None:
        """Take the next bytes as they came; raise Refused or DigestMismatch."""
        self.used = time.monotonic()
        decoded: Iterator[Chunk] = iter((data,)) if data else iter(())
        if self._decoder is not None:
            decoded = self._decoder.decode(data)
        for part in decoded:
            self.received += len(part)
            digest = self.resource.digest
            if self.received > digest.size:
                raise DigestMismatch(expected=digest, found=digest._replace(size=self.received))
            self._collected.append(part)
            self._collected_bytes += len(part)
            if self._collected_bytes >= PART_BYTES:
                await self._hand_on()
        if self.received - self._looked_at >= LOOK_BYTES:
            await self._look()

    async def _look(self) -> None:
        """End early if the blob has come another way meanwhile."""
        self._looked_at = self.received
        if not await self._blobs.find_missing([self.resource.digest]):
            self.overtaken()

    def overtaken(self) -> None:
        """End early: the blob is there."""
        self._there = True
        self._task.cancel()

    async def finish(self) -> None:
        """Wait until the store has the blob; raise what it raises, Unserved if it was given up."""
        if not self.ended:
            if self._decoder is not None:
                self._decoder.end()
            await self._hand_on()
            await self._put(None)
        await asyncio.wait([self._task])
        if self._there:
            return
        if self._task.cancelled():
            raise Unserved("this upload was given up for another of the same name")
        self._task.result()

    def cancel(self) -> None:
        self._task.cancel()

    async def _hand_on(self) -> None:
        """Give the store what is collected: all of it, also where a connection ends meanwhile."""
        if self._collected:
            await self._put(self._collected)
            self._collected, self._collected_bytes = [], 0

    async def _put(self, parts: list[Chunk] | None) -> None:
        if not self.ended:
            await self._parts.put(parts)

    async def _chunks(self) -> AsyncIterator[Chunk]:
        while (parts := await self._parts.get()) is not None:
            for part in parts:
                yield part

    def _let_go(self, task: asyncio.Task[None]) -> None:
        """Free a connection that waits for room, now that nobody takes parts any more."""
        while not self._parts.empty():
            self._parts.get_nowait()
        if not task.cancelled():
            task.exception()  # told to who calls `finish`; a client may never come back for it


class OpenWrites:
    """All uploads under way, by resource name.

    max_open: how many at once; then those go that nobody has sent anything for longest.
    admission: counts each caller's own.
    """

    def __init__(
        self,
        blobs: BlobStore,
        admission: Admission,
        *,
        max_open: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._blobs = blobs
        self._admission = admission
        self._max_open = max_open
        self._clock = clock
        self._open: dict[str, OpenWrite] = {}

    def __len__(self) -> int:
        return len(self._open)

    def find(self, name: str) -> OpenWrite | None:
        return self._open.get(name)

    def begin(self, name: str, resource: Resource) -> OpenWrite:
        """Open an upload; one of the same name that was broken off is given up."""
        if name in self._open:
            self.close(name, self._open[name])
        self._make_room()
        owner = current_identity.get()
        if owner.limits is not None:
            self._admission.hold(owner, HELD, owner.limits.open_writes)
        self._open[name] = OpenWrite(resource, self._blobs, owner)
        return self._open[name]

    def arrived(self, digest: Digest) -> None:
        """End all uploads of a blob that has come.

        Source: remote_execution.proto, service ContentAddressableStorage: an upload ends at once
        where another client was faster.
        """
        for write in self._open.values():
            if write.resource.digest == digest and not write.ended:
                write.overtaken()

    def close(self, name: str, write: OpenWrite) -> None:
        """End an upload, finished or not."""
        write.cancel()
        if self._open.get(name) is write:
            del self._open[name]
            if write.owner.limits is not None:
                self._admission.let_go(write.owner, HELD)

    @asynccontextmanager
    async def closing(self) -> AsyncIterator[None]:
        """End all that is open when the block ends."""
        try:
            yield
        finally:
            for name, write in list(self._open.items()):
                self.close(name, write)

    def _make_room(self) -> None:
        idle = [(write.used, name) for name, write in self._open.items() if write.holder is None]
        for used, name in sorted(idle):
            if len(self._open) < self._max_open and used > self._clock() - IDLE_SECONDS:
                break
            self.close(name, self._open[name])
        if len(self._open) >= self._max_open:
            raise Overloaded(
                f"{len(self._open)} uploads are open, as many as server.max_open_writes allows"
            )
