"""Assets from their origins, into the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from assets.archive import unpack
from assets.files import open_file
from assets.git import Git, Revision, fetch_revision
from assets.git_tree import read_revision
from assets.http import HttpOrigins
from assets.integrity import Integrity
from assets.limits import FetchLimits
from assets.origins import Origins, Place
from assets.tree_builder import TreeBuilder
from assets.workplace import Workplace, workplace
from cas.chunks import FileChunks
from cas.digest import Digest, DigestFunction
from cas.folder import Blobs, encode
from cas.store import BlobStore

READ_BYTES = 1 << 20
SENT_BYTES = 8 << 20  # of blobs that the store is given at one time


class Fetcher:
    """Fetches one asset from one place. All that it answers is in the store, uploaded just now.

    scratch: the folder below which each fetch has one of its own. Raised are an OriginFault, and
    what the store's `write` raises.
    """

    def __init__(
        self,
        blobs: BlobStore,
        origins: Origins,
        http: HttpOrigins,
        *,
        scratch: Path,
        threads: ThreadPoolExecutor,
        limits: FetchLimits,
    ) -> None:
        self._blobs = blobs
        self._origins = origins
        self._http = http
        self._scratch = scratch
        self._threads = threads
        self._limits = limits

    async def blob(
        self,
        place: Place,
        headers: Mapping[str, str],
        function: DigestFunction,
        integrity: Integrity | None,
    ) -> Digest:
        """Fetch one file."""
        chunks = self._read(place, headers)
        async with workplace(self._scratch, self._threads) as work:
            spooled = await work.spool(chunks, function, integrity, self._limits.max_bytes)
            await self._blobs.write(spooled.digest, FileChunks(spooled.path))
        return spooled.digest

    async def unpacked(self, archive: Digest, directory: str) -> Digest:
        """Unpack an archive that is in the store; return the root of what is in `directory`."""
        async with workplace(self._scratch, self._threads) as work:
            chunks = _all(self._blobs, archive)
            spooled = await work.spool(chunks, archive.function, None, archive.size)
            tree = self._builder(work, archive.function)
            spare = work.folder / "archive"
            ended = work.ended.is_set
            await work.lane.run(
                partial(unpack, spooled.path, tree, spare, self._limits.unpack, ended)
            )
            return await self._keep(work, tree, directory, archive.function)

    async def revision(
        self,
        place: Place,
        headers: Mapping[str, str],
        function: DigestFunction,
        revision: Revision,
        directory: str,
    ) -> tuple[Digest, str]:
        """Fetch a revision of a repository; return the root of `directory` and the commit."""
        async with workplace(self._scratch, self._threads) as work:
            git = Git(work.folder, work.lane, self._limits.max_bytes)
            commit = await fetch_revision(git, place, revision, self._origins, headers)
            tree = self._builder(work, function)
            await work.lane.run(partial(read_revision, git, commit, directory, tree))
            return await self._keep(work, tree, "", function), commit

    def _read(self, place: Place, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
        if place.url.scheme == "file":
            return _file(place, self._origins)
        return self._http.read(place, headers)

    def _builder(self, work: Workplace, function: DigestFunction) -> TreeBuilder:
        contents = work.folder / "contents"
        contents.mkdir()
        return TreeBuilder(contents, function, self._limits.unpack, work.ended.is_set)

    async def _keep(
        self, work: Workplace, tree: TreeBuilder, directory: str, function: DigestFunction
    ) -> Digest:
        """Upload a tree, and nothing that is not in it."""
        folder = await work.lane.run(partial(tree.tree, directory))
        directories: Blobs = {}
        root = await work.lane.run(partial(encode, folder, function, directories))
        wanted = {digest: tree.blobs[digest] for digest in folder.files()} | directories
        held: dict[Digest, bytes] = {}
        size = 0
        for digest in await self._blobs.find_missing(wanted):
            contents = wanted[digest]
            if isinstance(contents, Path):
                await self._blobs.write(digest, FileChunks(contents))
                continue
            held[digest] = contents
            size += digest.size
            if size > SENT_BYTES:
                await self._send(held)
                held, size = {}, 0
        await self._send(held)
        return root

    async def _send(self, blobs: Mapping[Digest, bytes]) -> None:
        for error in (await self._blobs.write_many(blobs)).values():
            raise error


async def _file(place: Place, origins: Origins) -> AsyncGenerator[bytes]:
    with await asyncio.to_thread(open_file, place, origins) as file:
        while chunk := await asyncio.to_thread(file.read, READ_BYTES):
            yield chunk


async def _all(blobs: BlobStore, digest: Digest) -> AsyncGenerator[bytes]:
    async for chunk in blobs.read(digest):
        yield chunk
