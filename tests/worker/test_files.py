from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.memory import MemoryStore
from cas.store import BlobCorrupt, BlobStore, Chunk
from cas.tree import MissingInputs
from worker.files import INPUT_TIME_NS, SMALL_BYTES, File, FileCache


class CountingStore(BlobStore):
    """Counts what is read of another store, and can be made slow or faulty."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.reads: list[Digest] = []
        self.batches: list[int] = []
        self.hold: asyncio.Event | None = None
        self.faults: list[Exception] = []

    async def find_missing(self, digests: Iterable[Digest]) -> set[Digest]:
        return await self.inner.find_missing(digests)

    async def read(self, digest: Digest, *, offset: int = 0) -> AsyncIterator[bytes]:
        self.reads.append(digest)
        if self.hold is not None:
            await self.hold.wait()
        async for chunk in self.inner.read(digest, offset=offset):
            yield chunk[:1000]
            if self.faults:
                raise self.faults.pop()
            yield chunk[1000:]

    async def read_many(self, digests: Collection[Digest]) -> dict[Digest, bytes]:
        self.batches.append(len(digests))
        return await super().read_many(digests)

    async def write(self, digest: Digest, chunks: AsyncIterable[Chunk]) -> None:
        await self.inner.write(digest, chunks)

    async def put(self, data: bytes, *, executable: bool = False) -> File:
        digest = Digest.of(data)
        await self.inner.write_all(data, digest)
        return File(digest, executable)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def cached(path: Path, store: BlobStore, max_bytes: int = 1 << 30) -> FileCache:
    path.mkdir(exist_ok=True)
    return FileCache(path, store, max_bytes=max_bytes)


def whole(cache: FileCache, file: File) -> bytes:
    path = cache.path(file)
    found = os.stat(path)  # noqa: PTH116
    assert found.st_mtime_ns == INPUT_TIME_NS
    assert found.st_mode & 0o777 == (0o555 if file.executable else 0o444)
    return Path(path).read_bytes()


def inode(cache: FileCache, file: File) -> int:
    return Path(cache.path(file)).stat().st_ino


LARGE = bytes(range(256)) * 1000
assert len(LARGE) > SMALL_BYTES


async def test_a_file_has_an_inode_for_each_mode(tmp_path: Path, store: CountingStore) -> None:
    cache = cached(tmp_path, store)
    for data in (b"", b"small", LARGE):
        plain, program = await store.put(data), await store.put(data, executable=True)
        async with cache.holding([plain, program]):
            assert whole(cache, plain) == whole(cache, program) == data
            assert inode(cache, plain) != inode(cache, program)


async def test_a_file_that_is_here_is_not_fetched_again(
    tmp_path: Path, store: CountingStore
) -> None:
    files = [await store.put(b"small"), await store.put(LARGE)]
    for _ in range(2):  # the second is another worker's, later
        cache = cached(tmp_path, store)
        for _ in range(2):
            async with cache.holding(files):
                assert [whole(cache, file) for file in files] == [b"small", LARGE]
    assert len(store.reads) == 2


async def test_small_files_are_fetched_many_at_a_time(tmp_path: Path, store: CountingStore) -> None:
    files = [await store.put(b"%d" % number) for number in range(2500)]
    async with cached(tmp_path, store).holding(files):
        assert store.batches == [1000, 1000, 500]


async def test_one_file_wanted_twice_at_one_time_is_fetched_once(
    tmp_path: Path, store: CountingStore
) -> None:
    cache = cached(tmp_path, store)
    files = [await store.put(b"small"), await store.put(LARGE)]

    async def hold() -> None:
        async with cache.holding(files):
            assert [whole(cache, file) for file in files] == [b"small", LARGE]

    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(hold())
    assert len(store.reads) == 2


async def test_who_waits_for_a_fetch_that_is_cancelled_fetches_itself(
    tmp_path: Path, store: CountingStore
) -> None:
    cache = cached(tmp_path, store)
    file = await store.put(LARGE)
    store.hold = asyncio.Event()

    async def hold() -> None:
        async with cache.holding([file]):
            assert whole(cache, file) == LARGE

    first = asyncio.create_task(hold())
    while not store.reads:  # noqa: ASYNC110 - the first is to be in the midst of it
        await asyncio.sleep(0.01)
    second = asyncio.create_task(hold())
    await asyncio.sleep(0.05)
    first.cancel()
    store.hold.set()
    await second
    assert len(store.reads) == 2
    assert list((tmp_path / "unfinished").iterdir()) == []


async def test_all_missing_files_are_named(tmp_path: Path, store: CountingStore) -> None:
    lost = [File(Digest.of(data), executable=False) for data in (b"a", b"b", LARGE)]
    there = await store.put(b"there")
    with pytest.raises(MissingInputs) as missing:
        async with cached(tmp_path, store).holding([there, *lost]):
            pass
    assert set(missing.value.digests) == {file.digest for file in lost}


async def test_a_blob_found_corrupt_on_the_way_is_missing(
    tmp_path: Path, store: CountingStore
) -> None:
    cache = cached(tmp_path, store)
    file = await store.put(LARGE)
    store.faults = [BlobCorrupt(file.digest)]
    with pytest.raises(MissingInputs):
        async with cache.holding([file]):
            pass
    async with cache.holding([file]):
        assert whole(cache, file) == LARGE


async def test_a_store_that_fails_is_told_of_and_tried_again(
    tmp_path: Path, store: CountingStore
) -> None:
    cache = cached(tmp_path, store)
    file = await store.put(LARGE)
    store.faults = [ConnectionError("gone")]
    with pytest.raises(ConnectionError):
        async with cache.holding([file]):
            pass
    assert list((tmp_path / "unfinished").iterdir()) == []
    async with cache.holding([file]):
        assert whole(cache, file) == LARGE


async def test_the_file_unused_longest_goes_first_and_none_that_is_held(
    tmp_path: Path, store: CountingStore
) -> None:
    cache = cached(tmp_path, store, max_bytes=250)
    one, two, three, four = [await store.put(bytes([number]) * 100) for number in range(4)]

    def here() -> list[bool]:
        return [Path(cache.path(file)).exists() for file in (one, two, three, four)]

    async with cache.holding([one]):
        async with cache.holding([two]):
            pass
        async with cache.holding([three]):
            pass
        assert here() == [True, False, True, False]
    async with cache.holding([one]):
        pass
    async with cache.holding([four]):
        pass
    assert here() == [True, False, False, True]
    async with cache.holding([one, two, three]):
        assert here()[:3] == [True, True, True]  # what is held may exceed the bound
    assert sum(here()) == 2


async def test_files_of_an_earlier_worker_count_and_go(
    tmp_path: Path, store: CountingStore
) -> None:
    files = [await store.put(bytes([number]) * 100) for number in range(5)]
    async with cached(tmp_path, store).holding(files):
        pass
    (tmp_path / "unfinished" / "7").write_bytes(b"half")
    stray = tmp_path / "sha256" / files[0].digest.hash[:2] / "stray"
    stray.write_bytes(b"?")
    cache = cached(tmp_path, store, max_bytes=250)
    assert list((tmp_path / "unfinished").iterdir()) == []
    await cache.rescan()
    left = list((tmp_path / "sha256").glob("*/*"))
    assert len(left) == 2
    assert not stray.exists()


async def test_a_file_that_was_changed_is_fetched_again(
    tmp_path: Path, store: CountingStore
) -> None:
    cache = cached(tmp_path, store)
    file = await store.put(b"data")
    path = Path(cache.path(file))

    def longer() -> None:
        path.chmod(0o644)
        path.write_bytes(b"other data")
        path.chmod(0o444)
        os.utime(path, ns=(INPUT_TIME_NS, INPUT_TIME_NS))

    def later() -> None:
        os.utime(path)

    def open_to_all() -> None:
        path.chmod(0o666)

    def link() -> None:
        path.unlink()
        path.symlink_to("/etc/passwd")

    for change in (longer, later, open_to_all, link, path.unlink):
        async with cache.holding([file]):
            pass
        change()
        async with cache.holding([file]):
            assert whole(cache, file) == b"data"
