"""A blob whose bytes have changed is a miss, is set aside, and comes back with its next upload."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.disk_files import QUARANTINED_FILES
from cas.disk_open import OpenStore
from cas.store import BlobCorrupt, BlobNotFound
from tests.cas.disks import file_of, flip, flip_inline, opened, quarantined, truncate
from tests.cas.stores import MIB, noise, put

Damage = Callable[[Path], object]

DAMAGES: dict[str, Damage] = {
    "first bit": lambda path: flip(path, 0),
    "last bit": lambda path: flip(path, path.stat().st_size - 1),
    "cut": lambda path: truncate(path, path.stat().st_size - 1),
    "empty": lambda path: truncate(path, 0),
    "longer": lambda path: truncate(path, path.stat().st_size + 1),
}


async def _comes_back(store: OpenStore, digest: Digest, data: bytes) -> None:
    assert await store.blobs.find_missing([digest]) == {digest}
    await store.blobs.write_all(data, digest)
    assert await store.blobs.read_all(digest) == data
    assert await store.blobs.find_missing([digest]) == set()
    assert store.room.totals() == (1, len(data))


@pytest.mark.parametrize("size", [65, 20_000, MIB])
@pytest.mark.parametrize("name", DAMAGES)
async def test_a_damaged_file_is_a_miss_is_set_aside_and_heals(
    tmp_path: Path, name: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = noise(size)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        DAMAGES[name](file_of(tmp_path, digest))
        damaged = file_of(tmp_path, digest).read_bytes()
        with pytest.raises(BlobNotFound) as told:
            await anext(store.blobs.read(digest))
        assert not isinstance(told.value, BlobCorrupt)
        assert quarantined(tmp_path) == [damaged]
        assert not file_of(tmp_path, digest).exists()
        assert store.blobs.counters.quarantined == 1
        assert f"blob {digest} is lost" in caplog.text
        await _comes_back(store, digest, data)


@pytest.mark.parametrize("name", DAMAGES)
async def test_read_many_leaves_a_damaged_file_out(tmp_path: Path, name: str) -> None:
    with opened(tmp_path) as store:
        digest, other = await put(store.blobs, noise(999)), await put(store.blobs, noise(998))
        DAMAGES[name](file_of(tmp_path, digest))
        assert await store.blobs.read_many([digest, other]) == {other: noise(998)}
        assert await store.blobs.find_missing([digest, other]) == {digest}


@pytest.mark.parametrize("name", ["cut", "empty", "longer"])
async def test_a_file_of_another_size_is_missing_before_it_is_read(
    tmp_path: Path, name: str
) -> None:
    data = noise(500)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        DAMAGES[name](file_of(tmp_path, digest))
        await _comes_back(store, digest, data)
        assert len(quarantined(tmp_path)) == 1


async def test_a_vanished_file_is_a_miss_and_heals(tmp_path: Path) -> None:
    data = noise(500)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        file_of(tmp_path, digest).unlink()
        await _comes_back(store, digest, data)
        file_of(tmp_path, digest).unlink()
        with pytest.raises(BlobNotFound):
            await store.blobs.read_all(digest)
        await _comes_back(store, digest, data)
        assert quarantined(tmp_path) == []


async def test_many_vanished_files_are_all_named(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        digests = [await put(store.blobs, noise(100, seed)) for seed in range(50)]
        for digest in digests[::2]:
            file_of(tmp_path, digest).unlink()
        assert await store.blobs.find_missing(digests) == set(digests[::2])


@pytest.mark.parametrize("at", [0, 7, 8, 39], ids=["checksum", "its end", "first", "last"])
async def test_a_damaged_inline_blob_is_a_miss_and_heals(tmp_path: Path, at: int) -> None:
    data = noise(32)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        flip_inline(store, digest, at)
        with pytest.raises(BlobNotFound):
            await store.blobs.read_all(digest)
        await _comes_back(store, digest, data)
        flip_inline(store, digest, at)
        assert await store.blobs.read_many([digest]) == {}
        await _comes_back(store, digest, data)
        assert store.blobs.counters.quarantined == 2


async def test_bytes_that_changed_after_the_first_mebibyte_end_the_read(tmp_path: Path) -> None:
    data = noise(3 * MIB)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        flip(file_of(tmp_path, digest), 2 * MIB + 5)
        chunks = store.blobs.read(digest)
        assert await anext(chunks) + await anext(chunks) == data[: 2 * MIB]
        with pytest.raises(BlobCorrupt) as told:
            await anext(chunks)
        assert told.value.digest == digest
        await _comes_back(store, digest, data)


async def test_a_file_that_shrinks_while_it_is_read_ends_the_read(tmp_path: Path) -> None:
    data = noise(3 * MIB)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        chunks = store.blobs.read(digest)
        assert await anext(chunks) == data[:MIB]
        truncate(file_of(tmp_path, digest), MIB)
        with pytest.raises(BlobCorrupt):
            await anext(chunks)
        await _comes_back(store, digest, data)


async def test_a_blob_that_goes_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    data = noise(3 * MIB)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        chunks = store.blobs.read(digest)
        first = await anext(chunks)
        file_of(tmp_path, digest).unlink()
        assert first + b"".join([chunk async for chunk in chunks]) == data


async def test_damage_outside_what_is_asked_for_is_not_looked_for(tmp_path: Path) -> None:
    data = noise(3 * MIB)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        flip(file_of(tmp_path, digest), 5)
        chunks = [chunk async for chunk in store.blobs.read(digest, offset=MIB)]
        assert b"".join(chunks) == data[MIB:]


async def test_damaged_checksums_are_damage_too(tmp_path: Path) -> None:
    data = noise(500)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        sums = store.environment.database("sums")
        with store.environment.read() as read:
            key = next(iter(read.cursor(db=sums).iternext(keys=True, values=False)))
        await store.environment.write(lambda write: write.put(key, b"\0" * 8, db=sums))
        with pytest.raises(BlobNotFound):
            await store.blobs.read_all(digest)
        await _comes_back(store, digest, data)


async def test_who_refers_to_a_damaged_blob_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        dropped: list[Digest] = []
        store.blobs.on_drop(dropped.append)
        digest, inline = await put(store.blobs, noise(500)), await put(store.blobs, noise(5))
        flip(file_of(tmp_path, digest), 5)
        flip_inline(store, inline, 9)
        assert await store.blobs.read_many([digest, inline]) == {}
        assert sorted(dropped) == sorted([digest, inline])


async def test_one_bad_file_found_by_many_readers_is_lost_once(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        digest = await put(store.blobs, noise(500))
        flip(file_of(tmp_path, digest), 5)
        async with asyncio.TaskGroup() as tasks:
            reads = [tasks.create_task(store.blobs.read_many([digest])) for _ in range(20)]
        assert all(read.result() == {} for read in reads)
        assert store.blobs.counters.quarantined == 1
        assert store.room.totals() == (0, 0)


async def test_the_quarantine_has_a_bound(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        digests = [await put(store.blobs, noise(100, seed)) for seed in range(70)]
        for digest in digests:
            flip(file_of(tmp_path, digest), 0)
        assert await store.blobs.read_many(digests) == {}
        assert len(quarantined(tmp_path)) == QUARANTINED_FILES
        assert not any(file_of(tmp_path, digest).exists() for digest in digests)


async def test_want_of_file_descriptors_loses_no_blob(tmp_path: Path) -> None:
    data = noise(500)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        await store.blobs.read_all(digest)  # its threads and their pipes are there from now on
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        first_free = os.dup(0)
        os.close(first_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                await store.blobs.read_all(digest)
            assert await store.blobs.find_missing([digest]) == set()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await store.blobs.read_all(digest) == data
        assert store.blobs.counters.quarantined == 0


async def test_uploads_of_a_damaged_name_are_still_checked(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        digest = await put(store.blobs, noise(500))
        flip(file_of(tmp_path, digest), 0)
        assert await store.blobs.read_many([digest]) == {}
        assert await store.blobs.write_many({digest: noise(500, 1)}) != {}
        assert await store.blobs.find_missing([digest]) == {digest}
