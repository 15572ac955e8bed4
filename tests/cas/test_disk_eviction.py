"""What goes when a disk store is full, in which order, and what is never taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.disk_index import digest_of
from cas.disk_room import EVICT_BATCH, DiskLimits
from cas.environment import Read
from cas.store import BlobTooLarge, DigestMismatch, StoreFull
from tests.cas.disks import HOUR, Clock, file_of, opened
from tests.cas.stores import in_chunks, named, noise, put

KIB = 1024
LIMITS = DiskLimits(
    100 * KIB, inline_bytes=64, lease_seconds=12 * HOUR, upload_lease_seconds=1 * HOUR
)


async def test_the_blob_whose_lease_ended_first_goes_first(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = []
        for seed in range(5):
            digests.append(await put(store.blobs, noise(20 * KIB, seed)))
            clock.now += 60
        clock.now += 2 * HOUR
        assert await store.room.evict(60 * KIB) == replace(store.room.evicted)
        assert (store.room.evicted.blobs, store.room.evicted.bytes) == (2, 40 * KIB)
        assert await store.blobs.find_missing(digests) == set(digests[:2])
        assert [file_of(tmp_path, digest).exists() for digest in digests] == [False] * 2 + [
            True
        ] * 3
        assert store.room.totals() == (3, 60 * KIB)


@pytest.mark.parametrize("use", ["read", "read_many", "find_missing"])
async def test_what_was_used_last_goes_last(tmp_path: Path, use: str) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = [await put(store.blobs, noise(size)) for size in [60, 61, 999, 998]]
        clock.now += 2 * HOUR
        kept = digests[::2]
        match use:
            case "read":
                for digest in kept:
                    await store.blobs.read_all(digest)
            case "read_many":
                await store.blobs.read_many(kept)
            case _:
                await store.blobs.find_missing(kept)
        await store.room.evict(0)
        assert await store.blobs.find_missing(digests) == set(digests[1::2])


@pytest.mark.parametrize("size", [60, 999])
async def test_no_lease_is_broken(tmp_path: Path, size: int) -> None:
    # REAPI rule: FindMissingBlobs extends the lifetime of what it finds.
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digest = await put(store.blobs, noise(size))
        clock.now += 1 * HOUR
        assert (await store.room.evict(0)).blobs == 0
        assert await store.blobs.find_missing([digest]) == set()
        clock.now += 12 * HOUR
        assert (await store.room.evict(0)).blobs == 0
        clock.now += 12 * HOUR / 24 + 2
        assert (await store.room.evict(0)).blobs == 1
        assert await store.blobs.find_missing([digest]) == {digest}


@pytest.mark.parametrize("size", [60, 999])
async def test_a_second_upload_renews_the_lease(tmp_path: Path, size: int) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        await put(store.blobs, noise(size))
        clock.now += 5 * HOUR
        await put(store.blobs, noise(size))
        assert (await store.room.evict(0)).blobs == 0


async def test_a_lease_outlives_the_process(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digest = await put(store.blobs, noise(999))
        await store.blobs.find_missing([digest])
    clock.now += 11 * HOUR
    with opened(tmp_path, LIMITS, clock=clock) as store:
        assert (await store.room.evict(0)).blobs == 0
        assert store.room.totals() == (1, 999)


async def test_an_upload_makes_room_for_itself(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        for seed in range(30):
            digest = await put(store.blobs, noise(20 * KIB, seed))
            clock.now += 2 * HOUR
            assert await store.blobs.read_all(digest) == noise(20 * KIB, seed)
            assert store.room.totals().bytes <= LIMITS.max_bytes
        assert store.room.evicted.blobs == 25


async def test_small_uploads_make_room_too(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, replace(LIMITS, max_bytes=1000), clock=clock) as store:
        for start in range(0, 100, 10):
            blobs = {named(data): data for data in (noise(50, start + n) for n in range(10))}
            assert await store.blobs.write_many(blobs) == {}
            assert await store.blobs.read_many(list(blobs)) == blobs
            assert store.room.totals().bytes <= 1000
            clock.now += 2 * HOUR


@pytest.mark.parametrize("size", [60, 40 * KIB])
async def test_a_store_of_leased_blobs_refuses_more_and_says_what_to_do(
    tmp_path: Path, size: int
) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        held = [await put(store.blobs, noise(20 * KIB, seed)) for seed in range(5)]
        with pytest.raises(StoreFull) as told:
            await put(store.blobs, noise(size, 9))
        assert str(told.value) == (
            f"no room for {size} bytes: 102400 of store.max_bytes = 102400 are in use and nothing "
            "else may be evicted now; raise store.max_bytes or lower store.lease_seconds"
        )
        failed = await store.blobs.write_many({named(noise(size, 9)): noise(size, 9)})
        assert [type(error) for error in failed.values()] == [StoreFull]
        assert store.blobs.counters.refused == 2
        assert await store.blobs.find_missing(held) == set()
        clock.now += 13 * HOUR
        await put(store.blobs, noise(size, 9))


async def test_what_can_never_fit_takes_nothing_with_it(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        held = await put(store.blobs, noise(20 * KIB))
        clock.now += 2 * HOUR
        with pytest.raises(
            BlobTooLarge, match=r"102401 bytes are more than store\.max_bytes = 102400"
        ):
            await put(store.blobs, noise(100 * KIB + 1))
        assert store.room.totals() == (1, 20 * KIB)
        assert await store.blobs.find_missing([held]) == set()


async def test_uploads_under_way_count(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            begun.set()
            await go_on.wait()
            yield noise(60 * KIB)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(store.blobs.write(named(noise(60 * KIB)), slowly()))
            await begun.wait()
            with pytest.raises(StoreFull, match="61440 of"):
                await put(store.blobs, noise(41 * KIB, 1))
            await put(store.blobs, noise(40 * KIB, 2))
            go_on.set()
        assert store.room.totals() == (2, 100 * KIB)


@pytest.mark.parametrize("given", [noise(50 * KIB), noise(60 * KIB, 1)], ids=["short", "other"])
async def test_room_for_an_upload_that_fails_is_free_again(tmp_path: Path, given: bytes) -> None:
    with opened(tmp_path, LIMITS) as store:
        for _ in range(3):
            with pytest.raises(DigestMismatch):
                await store.blobs.write(named(noise(60 * KIB)), in_chunks(given, 10 * KIB))
        await put(store.blobs, noise(100 * KIB))
        assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize("size", [10, 20])
async def test_many_uploads_at_once_all_find_room_where_there_is_enough(
    tmp_path: Path, size: int
) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        for seed in range(100 // size):
            await put(store.blobs, noise(size * KIB, seed))
        clock.now += 2 * HOUR
        async with asyncio.TaskGroup() as tasks:
            for seed in range(100, 100 + 100 // size):
                tasks.create_task(put(store.blobs, noise(size * KIB, seed)))
        assert store.room.totals() == (100 // size, 100 * KIB)


async def test_of_more_uploads_than_fit_the_rest_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        blobs = [noise(10 * KIB, seed) for seed in range(25)]
        stored: list[Digest] = []
        refused: list[StoreFull] = []

        async def attempt(data: bytes) -> None:
            try:
                stored.append(await put(store.blobs, data))
            except StoreFull as error:
                refused.append(error)

        async with asyncio.TaskGroup() as tasks:
            for data in blobs:
                tasks.create_task(attempt(data))
        assert len(stored) + len(refused) == len(blobs)
        assert 0 < len(stored) <= 10
        assert store.room.totals() == (len(stored), len(stored) * 10 * KIB)
        assert await store.blobs.find_missing(stored) == set()


async def test_eviction_takes_more_than_one_batch(tmp_path: Path) -> None:
    clock = Clock()
    count = 2 * EVICT_BATCH + 3
    with opened(tmp_path, LIMITS, clock=clock) as store:
        blobs = {named(data): data for data in (noise(20, seed) for seed in range(count))}
        await store.blobs.write_many(blobs)
        clock.now += 2 * HOUR
        gone = await store.room.evict(20)
        assert (gone.blobs, gone.bytes) == (count - 1, 20 * (count - 1))
        assert store.room.totals() == (1, 20)


async def test_above_high_water_it_goes_down_to_low_water(tmp_path: Path) -> None:
    clock = Clock()
    limits = replace(LIMITS, high_water=0.8, low_water=0.4)
    with opened(tmp_path, limits, clock=clock) as store:
        for seed in range(8):
            await put(store.blobs, noise(10 * KIB, seed))
        clock.now += 2 * HOUR
        loop, fifth = asyncio.get_running_loop(), asyncio.Event()
        dropped: list[Digest] = []

        def count(digest: Digest) -> None:
            dropped.append(digest)
            if len(dropped) == 5:
                loop.call_soon_threadsafe(fifth.set)

        store.blobs.on_drop(count)
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(store.room.keep(every_seconds=0.001))
            await store.environment.write(lambda write: None)
            assert store.room.totals() == (8, 80 * KIB)  # at the mark, not above it
            await put(store.blobs, noise(1 * KIB, 8))
            await fifth.wait()
            await store.environment.write(lambda write: None)
            assert store.room.totals() == (4, 31 * KIB)
            keeping.cancel()


async def test_results_that_refer_to_a_blob_go_in_the_same_transaction(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        results = store.environment.database("results-of-the-test")
        dropped: list[Digest] = []

        def drop_results(write: Read, key: bytes) -> None:
            assert write.delete(key, db=results)
            dropped.append(digest_of(key))

        store.index.on_drop(drop_results)
        digests = [await put(store.blobs, noise(size)) for size in [20, 999]]
        blobs = store.environment.database("blobs")
        with store.environment.read() as read:
            keys = list(read.cursor(db=blobs).iternext(values=False))

        def refer(write: Read) -> None:
            for key in keys:
                write.put(key, b"a result", db=results)

        await store.environment.write(refer)
        clock.now += 2 * HOUR
        await store.room.evict(0)
        with store.environment.read() as read:
            assert read.stat(results)["entries"] == 0
        assert sorted(dropped) == sorted(digests)


async def test_a_hook_that_fails_keeps_the_blobs_record_and_loses_no_other(tmp_path: Path) -> None:
    clock = Clock()

    def fail(write: Read, key: bytes) -> None:
        raise ValueError("the hook's own fault")

    with opened(tmp_path, LIMITS, clock=clock) as store:
        digest = await put(store.blobs, noise(20))
        store.index.on_drop(fail)
        clock.now += 2 * HOUR
        with pytest.raises(ValueError, match="the hook's own fault"):
            await store.room.evict(0)
        assert await store.blobs.read_all(digest) == noise(20)
        assert store.room.totals() == (1, 20)
