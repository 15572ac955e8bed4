"""Marked blobs are evicted last, and never stand in the way of an upload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.disk_index import key_of
from cas.disk_open import OpenStore
from cas.disk_room import EVICT_BATCH, FULL_BATCH
from cas.environment import Read
from tests.cas.disks import HOUR, Clock, file_of, opened
from tests.cas.stores import named, noise, put
from tests.cas.test_disk_eviction import KIB, LIMITS

BY, OTHER = b"one that marks", b"another"


async def mark(store: OpenStore, digests: Iterable[Digest], by: bytes = BY) -> None:
    for digest in digests:
        await store.environment.write(partial(store.index.mark, key=key_of(digest), by=by))


async def unmark(store: OpenStore, digests: Iterable[Digest], by: bytes = BY) -> None:
    for digest in digests:
        await store.environment.write(partial(store.index.unmark, key=key_of(digest), by=by))


async def five(store: OpenStore, clock: Clock, *, size: int = 20 * KIB) -> list[Digest]:
    """Upload five blobs, a minute apart, and let their leases end."""
    digests = []
    for seed in range(5):
        digests.append(await put(store.blobs, noise(size, seed)))
        clock.now += 60
    clock.now += 2 * HOUR
    return digests


def queued(store: OpenStore, name: str) -> int:
    database = store.environment.database(name)
    with store.environment.read() as read:
        return int(read.stat(database)["entries"])


@pytest.mark.parametrize("size", [60, 20 * KIB])
async def test_marked_blobs_go_when_nothing_else_may(tmp_path: Path, size: int) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = await five(store, clock, size=size)
        await mark(store, digests[:2])
        gone = await store.room.evict(3 * size)
        assert (gone.blobs, gone.bytes) == (2, 2 * size)
        gone = await store.room.evict(2 * size)
        assert gone.blobs == 1
        with store.environment.read() as read:
            left = [each for each in digests if store.index.get(read, key_of(each))]
        assert left == digests[:2]
        assert (await store.room.evict(size)).blobs == 1
        assert await store.blobs.find_missing(digests) == {digests[0], *digests[2:]}


async def test_an_upload_is_not_refused_because_of_marked_blobs(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = await five(store, clock)
        await mark(store, digests)
        new = await put(store.blobs, noise(40 * KIB, 99))
        assert await store.blobs.find_missing([*digests, new]) == set(digests[:2])
        assert store.blobs.counters.refused == 0
        assert not file_of(tmp_path, digests[0]).exists()


async def test_a_lease_holds_a_marked_blob_as_any_other(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = await five(store, clock)
        await mark(store, digests[:2])
        await store.room.evict(40 * KIB)
        assert queued(store, "due_last") == 2
        assert await store.blobs.find_missing(digests[:1]) == set()
        assert (queued(store, "due"), queued(store, "due_last")) == (1, 1)
        assert (await store.room.evict(0)).blobs == 1
        assert await store.blobs.find_missing(digests[:2]) == {digests[1]}
        assert (await store.room.evict(0)).blobs == 0
        clock.now += 2 * LIMITS.lease_seconds
        assert (await store.room.evict(0)).blobs == 1
        assert (queued(store, "due"), queued(store, "due_last")) == (0, 0)


async def test_what_is_unmarked_goes_in_its_turn_again(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = await five(store, clock)
        await mark(store, digests[:2])
        await store.room.evict(80 * KIB)
        assert queued(store, "due_last") == 2
        await unmark(store, digests[:1])
        assert queued(store, "due_last") == 1
        await store.room.evict(60 * KIB)
        assert await store.blobs.find_missing(digests) == {digests[0], digests[2]}


async def test_a_blob_stays_marked_until_all_have_unmarked_it(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = await five(store, clock)
        await mark(store, digests[:1])
        await mark(store, digests[:1], OTHER)
        await mark(store, digests[:1], OTHER)
        await unmark(store, digests[:1], OTHER)
        await unmark(store, digests[1:2], OTHER)
        await store.room.evict(20 * KIB)
        assert await store.blobs.find_missing(digests) == set(digests[1:])


async def test_a_blob_may_be_marked_before_it_comes(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        await mark(store, [named(noise(20 * KIB, 0))])
        digests = await five(store, clock)
        await store.room.evict(20 * KIB)
        assert await store.blobs.find_missing(digests) == set(digests[1:])


@pytest.mark.parametrize("marked", [FULL_BATCH, 2 * EVICT_BATCH + 3])
async def test_more_marked_blobs_than_a_batch_do_not_keep_others(
    tmp_path: Path, marked: int
) -> None:
    clock = Clock()
    limits = replace(LIMITS, max_bytes=1 << 20)
    with opened(tmp_path, limits, clock=clock) as store:
        first = {named(data): data for data in (noise(20, seed) for seed in range(marked))}
        await store.blobs.write_many(first)
        await mark(store, first)
        clock.now += 60
        later = {named(data): data for data in (noise(21, seed) for seed in range(300))}
        await store.blobs.write_many(later)
        clock.now += 2 * HOUR
        gone = await store.room.evict(20 * marked)
        assert (gone.blobs, gone.bytes) == (300, 21 * 300)
        assert store.room.totals() == (marked, 20 * marked)
        assert (await store.room.evict(0)).blobs == marked
        assert queued(store, "due_last") == 0


async def test_the_order_outlives_the_process(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = await five(store, clock)
        await mark(store, digests[:2])
        await store.room.evict(80 * KIB)
    with opened(tmp_path, LIMITS, clock=clock) as store:
        await store.room.evict(20 * KIB)
        assert await store.blobs.find_missing(digests) == {digests[0], *digests[2:]}


async def test_a_note_of_a_blob_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    # A version that knows no marks drops blobs without looking into `due_last`.
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        digests = await five(store, clock)
        await mark(store, digests[:2])
        await store.room.evict(80 * KIB)
        database = store.environment.database("due_last")

        def add(write: Read) -> None:
            write.put(b"\0\0\0\1" + key_of(named(b"nothing")), b"", db=database)

        await store.environment.write(add)
        assert (await store.room.evict(0)).blobs == 4
        assert store.room.totals() == (0, 0)
