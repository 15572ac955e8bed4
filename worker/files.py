"""The worker's own copies of input files, from which the inputs of actions are linked or copied."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import stat
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.store import BlobNotFound, BlobStore
from cas.tree import MissingInputs
from worker.concurrency import each

# Of every input file and folder, so that no action sees when it was put there. A time that zip
# archives can hold: 2000-01-01T00:00:00Z.
INPUT_TIME_NS = 946_684_800 * 10**9
PLAIN_MODE, EXECUTABLE_MODE = 0o444, 0o555
SMALL_BYTES = 64 * 1024  # up to this size, files are fetched many at a time
BATCH_BYTES = 4 << 20  # bytes of one such batch
BATCH_FILES = 1000
STREAMS = 8  # large files that are fetched at one time


class File(NamedTuple):
    """One content with one mode: an inode of its own, since modes belong to inodes."""

    digest: Digest
    executable: bool

    @property
    def mode(self) -> int:
        return EXECUTABLE_MODE if self.executable else PLAIN_MODE


class FileCache:
    """Keeps input files for later actions, up to `max_bytes`; the one unused longest goes first.

    Those that an action is about to use are held, and may exceed the bound for that time. A file
    is whole or not there, even if the worker is killed. One that was changed since is thrown away.
    """

    def __init__(self, folder: Path, store: BlobStore, *, max_bytes: int) -> None:
        self._folder = str(folder)
        self._store = store
        self._max_bytes = max_bytes
        self._known: OrderedDict[File, None] = OrderedDict()  # oldest use first
        self._bytes = 0
        self._holders: dict[File, int] = {}
        self._fetching: dict[File, asyncio.Event] = {}
        self._numbers = itertools.count()  # drawn from in several threads
        self._unfinished = f"{folder}/unfinished"
        if Path(self._unfinished).exists():
            shutil.rmtree(self._unfinished)
        Path(self._unfinished).mkdir()
        for function in DigestFunction:
            Path(folder, function).mkdir(exist_ok=True)

    def path(self, file: File) -> str:
        """Return where `file` is while it is held."""
        digest = file.digest
        kind = "x" if file.executable else "f"
        name = f"{digest.hash}-{digest.size}{kind}"
        return f"{self._folder}/{digest.function}/{digest.hash[:2]}/{name}"

    @asynccontextmanager
    async def holding(self, files: Collection[File]) -> AsyncIterator[None]:
        """Have all of `files` at their paths while the block runs.

        Raises MissingInputs with all that the store does not have, and what the store raises.
        """
        for file in files:
            self._holders[file] = self._holders.get(file, 0) + 1
        try:
            await self._obtain(files)
            yield
        finally:
            for file in files:
                self._holders[file] -= 1
                if not self._holders[file]:
                    del self._holders[file]
            self._evict()

    async def rescan(self) -> None:
        """Count what an earlier worker left here.

        Files are found without this; it makes those that nobody asks for count, and go.
        """
        for file in await asyncio.to_thread(self._scan):
            if file not in self._known:
                self._known[file] = None
                self._known.move_to_end(file, last=False)
                self._bytes += file.digest.size
        self._evict()

    async def _obtain(self, files: Collection[File]) -> None:
        lacking = await asyncio.to_thread(self._lacking, files)
        for file in files:
            if file not in lacking:
                self._use(file)
        while lacking:
            elsewhere = [self._fetching[file] for file in lacking if file in self._fetching]
            own = [file for file in lacking if file not in self._fetching]
            if own:
                await self._fetch(own)
            for fetched in elsewhere:
                await fetched.wait()
            # Another action's fetch may have failed or been cancelled: then it is this one's turn.
            lacking = {file for file in lacking if file not in self._known}

    def _use(self, file: File) -> None:
        if file not in self._known:
            self._bytes += file.digest.size
        self._known[file] = None
        self._known.move_to_end(file)

    def _forget(self, file: File) -> None:
        if file in self._known:
            del self._known[file]
            self._bytes -= file.digest.size

    def _lacking(self, files: Iterable[File]) -> set[File]:
        """Return those that are not here, or not as they were put here; these are removed."""
        lacking = set()
        for file in files:
            path = self.path(file)
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                lacking.add(file)
                continue
            expected = (file.digest.size, INPUT_TIME_NS, stat.S_IFREG | file.mode)
            if (found.st_size, found.st_mtime_ns, found.st_mode) != expected:
                os.unlink(path)  # noqa: PTH108 - strings, since there can be thousands
                lacking.add(file)
        return lacking

    async def _fetch(self, files: Collection[File]) -> None:
        """Bring `files` here from the store; others who want them wait meanwhile."""
        done = asyncio.Event()
        for file in files:
            self._fetching[file] = done
            self._forget(file)
        try:
            self._evict(room=sum(file.digest.size for file in files))
            missing = await self._fetch_small(
                [file for file in files if file.digest.size <= SMALL_BYTES]
            )
            large = [file for file in files if file.digest.size > SMALL_BYTES]
            for lost in await each(large, self._fetch_large, limit=STREAMS):
                missing |= lost
            if missing:
                raise MissingInputs(missing)
        finally:
            for file in files:
                del self._fetching[file]
            done.set()

    async def _fetch_small(self, files: Collection[File]) -> set[Digest]:
        missing: set[Digest] = set()
        for batch in _batches(files):
            found = await self._store.read_many({file.digest for file in batch})
            here = [file for file in batch if file.digest in found]
            missing |= {file.digest for file in batch} - found.keys()
            await asyncio.to_thread(self._put_all, here, found)
            for file in here:
                self._use(file)
        return missing

    def _put_all(self, files: Iterable[File], contents: dict[Digest, bytes]) -> None:
        for file in files:
            temporary = self._new_path()
            with open(temporary, "xb") as made:  # noqa: PTH123
                made.write(contents[file.digest])
            self._finish(temporary, file)

    async def _fetch_large(self, file: File) -> set[Digest]:
        """Bring one file here; return its digest if the store does not have it."""
        temporary = self._new_path()
        try:
            with open(temporary, "xb") as made:  # noqa: ASYNC230, PTH123 - makes an entry, no more
                chunks = self._store.read(file.digest)
                try:
                    async for chunk in chunks:
                        await asyncio.to_thread(made.write, chunk)
                finally:
                    if isinstance(chunks, AsyncGenerator):
                        await chunks.aclose()
            await asyncio.to_thread(self._finish, temporary, file)
        except BlobNotFound as error:
            return {error.digest}
        finally:
            _remove(temporary)
        self._use(file)
        return set()

    def _new_path(self) -> str:
        return f"{self._unfinished}/{next(self._numbers)}"

    def _finish(self, temporary: str, file: File) -> None:
        """Give a file that is complete its mode, its time, and its name, in this order."""
        os.chmod(temporary, file.mode)  # noqa: PTH101
        os.utime(temporary, ns=(INPUT_TIME_NS, INPUT_TIME_NS))
        path = self.path(file)
        try:
            os.rename(temporary, path)  # noqa: PTH104
        except FileNotFoundError:
            Path(path).parent.mkdir(exist_ok=True)
            os.rename(temporary, path)  # noqa: PTH104

    def _evict(self, *, room: int = 0) -> None:
        """Remove files until `room` more bytes fit, or all that is left is held."""
        excess = self._bytes + room - self._max_bytes
        if excess <= 0:
            return
        going: list[File] = []
        for file in self._known:
            if excess <= 0:
                break
            if file not in self._holders:
                going.append(file)
                excess -= file.digest.size
        for file in going:
            self._forget(file)
        # Not in a thread: between the choice and the removal, nobody may come to hold one.
        for file in going:
            _remove(self.path(file))

    def _scan(self) -> list[File]:
        """Return the files that are here, the one used last first."""
        found: list[tuple[int, File]] = []
        for function in DigestFunction:
            for folder in Path(self._folder, function).iterdir():
                with os.scandir(folder) as entries:
                    for entry in entries:
                        file = _file_named(entry.name, function)
                        if file is None:
                            Path(entry.path).unlink()
                        else:
                            # Linking changes it, and nothing else does.
                            found.append((entry.stat(follow_symlinks=False).st_ctime_ns, file))
        return [file for _, file in sorted(found, key=lambda each: -each[0])]


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _file_named(name: str, function: DigestFunction) -> File | None:
    hash, _, rest = name.partition("-")
    if rest[-1:] not in {"f", "x"} or not rest[:-1].isdecimal():
        return None
    try:
        return File(Digest.parse(hash, int(rest[:-1]), function), rest[-1] == "x")
    except InvalidDigest:
        return None


def _batches(files: Iterable[File]) -> Iterator[list[File]]:
    """Cut `files` into lists that are read in one call each."""
    batch: list[File] = []
    size = 0
    for file in files:
        if batch and (len(batch) == BATCH_FILES or size + file.digest.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.digest.size
    if batch:
        yield batch
