"""A folder for one fetch, and a thread at work in it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

from assets.fault import AssetTooLarge
from assets.integrity import Integrity
from cas.chunks import buffered
from cas.digest import Digest, DigestFunction
from cas.disk_lane import Lane
from cas.git_sha1 import SizeMismatch
from cas.store import Chunk


@dataclass(frozen=True, slots=True)
class Spooled:
    """A blob that lies in a file of the workplace."""

    path: Path
    digest: Digest


@dataclass(frozen=True, slots=True)
class Workplace:
    """folder: removed at the end. lane: for what works on its files.

    ended: set when nobody waits any more for what the thread does.
    """

    folder: Path
    lane: Lane
    ended: threading.Event = field(default_factory=threading.Event)

    async def spool(
        self,
        chunks: AsyncGenerator[bytes],
        function: DigestFunction,
        integrity: Integrity | None,
        max_bytes: int,
    ) -> Spooled:
        """Write `chunks` to a file, and name them; close them.

        Raises AssetTooLarge, ContentMismatch, and what the chunks raise.
        """
        path = self.folder / "asset"
        hasher = function.hasher(0)  # as many as come
        checker = integrity.hasher() if integrity else None
        size = 0
        file = path.open("xb", buffering=0)

        def add(parts: list[Chunk]) -> None:
            for part in parts:
                hasher.update(part)
                if checker is not None:
                    checker.update(part)
                file.write(part)

        try:
            async with aclosing(chunks), aclosing(buffered(chunks)) as groups:
                async for group in groups:
                    size += sum(map(len, group))
                    if size > max_bytes:
                        raise AssetTooLarge(f"more than assets.max_bytes = {max_bytes}")
                    await self.lane.run(partial(add, group))
        finally:
            self.lane.close(file.close)
        if integrity is not None and checker is not None:
            integrity.check(checker.digest())
        try:
            return Spooled(path, Digest(hasher.hexdigest(), size, function))
        except SizeMismatch:  # GITSHA1 hashes the size first, and it is known only now
            return Spooled(path, await self.lane.run(partial(Digest.of_path, path, function)))


@asynccontextmanager
async def workplace(parent: Path, threads: ThreadPoolExecutor) -> AsyncIterator[Workplace]:
    """Offer an empty folder below `parent` during the block.

    It is removed at the end, or once a thread has noticed that the block was left by a cancelled
    task.
    """
    folder = parent / uuid4().hex
    folder.mkdir()
    place = Workplace(folder, Lane(threads))
    try:
        yield place
    finally:
        place.ended.set()
        place.lane.close(partial(shutil.rmtree, folder, ignore_errors=True))
