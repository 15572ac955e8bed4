"""Blobs that are split: what is remembered, for how long, and what is left when it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from cas.chunking.cutter import ChunkingFunction
from cas.chunking.fast_cdc import FastCdc
from cas.digest import Digest
from cas.disk_room import DiskLimits
from cas.splitting import Split
from cas.store import BlobNotFound, StoreFull
from tests.cas.disks import HOUR, Clock, file_of, flip, opened
from tests.cas.splitting import CHUNKINGS, KIB, Chunked, cut
from tests.cas.stores import MIB, named, noise, put

FAST_CDC, REP_MAX_CDC = ChunkingFunction.FAST_CDC_2020, ChunkingFunction.REP_MAX_CDC
LIMITS = DiskLimits(1 << 30, inline_bytes=64)
DATA = noise(3 * MIB // 2)
BLOB = named(DATA)


async def test_chunks_are_those_of_the_cutter_and_are_there(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        for chunking in (CHUNKINGS.fast_cdc, CHUNKINGS.rep_max_cdc):
            split = await chunked.splitter.split(BLOB, chunking.function)
            expected = [named(chunk) for chunk in cut(chunking, DATA)]
            assert split == Split(expected, chunking.function)
            assert await chunked.joined(split.chunks) == DATA


async def test_a_blob_is_cut_once_for_each_function(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        first = await chunked.splitter.split(BLOB, FAST_CDC)
        assert chunked.blobs.reads == 1
        assert await chunked.splitter.split(BLOB, FAST_CDC) == first
        assert await chunked.splitter.split(BLOB, ChunkingFunction.UNKNOWN) == first
        assert chunked.blobs.reads == 1
        assert await chunked.splitter.split(BLOB, REP_MAX_CDC) != first
        assert (chunked.blobs.reads, chunked.lists()) == (2, 2)


async def test_a_list_outlives_the_process_and_other_parameters(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        await put(store.blobs, DATA)
        first = await Chunked(store).splitter.split(BLOB, FAST_CDC)
    with opened(tmp_path, LIMITS) as store:
        for other in (FastCdc(32 * KIB), FastCdc(64 * KIB, seed=1)):
            chunked = Chunked(store, replace(CHUNKINGS, fast_cdc=other))
            assert await chunked.splitter.split(BLOB, FAST_CDC) != first
            assert chunked.blobs.reads == 1
        chunked = Chunked(store)
        assert await chunked.splitter.split(BLOB, FAST_CDC) == first
        assert chunked.blobs.reads == 0


async def test_calls_at_one_time_share_the_work(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(chunked.splitter.split(BLOB, number)) for number in (0, 1)]
        assert calls[0].result() == calls[1].result()
        assert chunked.blobs.reads == 1


async def test_when_the_first_call_is_cancelled_the_next_does_the_work(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(chunked.splitter.split(BLOB, FAST_CDC))
            second = tasks.create_task(chunked.splitter.split(BLOB, FAST_CDC))
            await chunked.blobs.reading.wait()
            first.cancel()
        assert first.cancelled()
        assert await chunked.joined(second.result().chunks) == DATA


async def test_a_chunk_that_is_gone_has_the_blob_cut_anew(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        split = await chunked.splitter.split(BLOB, FAST_CDC)
        file_of(tmp_path, split.chunks[1]).unlink()
        assert await chunked.splitter.split(BLOB, FAST_CDC) == split
        assert chunked.blobs.reads == 2
        assert await chunked.joined(split.chunks) == DATA


async def test_a_chunk_whose_bytes_changed_is_found_by_the_next_read(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        split = await chunked.splitter.split(BLOB, FAST_CDC)
        flip(file_of(tmp_path, split.chunks[1]), at=7)
        assert await chunked.splitter.split(BLOB, FAST_CDC) == split
        with pytest.raises(BlobNotFound):
            await store.blobs.read_all(split.chunks[1])
        assert await chunked.splitter.split(BLOB, FAST_CDC) == split
        assert await chunked.joined(split.chunks) == DATA


async def test_a_blob_that_is_lost_while_it_is_read_is_not_found(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        flip(file_of(tmp_path, BLOB), at=len(DATA) - 1)
        with pytest.raises(BlobNotFound):
            await chunked.splitter.split(BLOB, FAST_CDC)
        assert chunked.lists() == 0
        with pytest.raises(BlobNotFound):
            await chunked.splitter.split(BLOB, FAST_CDC)


async def test_each_split_leases_the_blob_and_its_chunks(tmp_path: Path) -> None:
    # REAPI rule: SplitBlob extends the lifetimes of both.
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        split = await chunked.splitter.split(BLOB, FAST_CDC)
        for _ in range(3):
            assert await chunked.splitter.split(BLOB, FAST_CDC) == split
            clock.now += 11 * HOUR
            await store.room.evict(0)
        assert chunked.blobs.reads == 1
        assert await chunked.joined([*split.chunks, BLOB]) == DATA + DATA


async def test_lists_go_with_their_blob_and_no_others_do(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        chunked = Chunked(store)
        other = await put(store.blobs, noise(MIB, 1))
        await put(store.blobs, DATA)
        for function in (FAST_CDC, REP_MAX_CDC):
            await chunked.splitter.split(BLOB, function)
        clock.now += HOUR
        split = await chunked.splitter.split(other, FAST_CDC)
        assert chunked.lists() == 3
        clock.now += 12 * HOUR
        await store.blobs.find_missing([other, *split.chunks])
        await store.room.evict(0)
        assert await store.blobs.find_missing([BLOB]) == {BLOB}
        assert chunked.lists() == 1
        assert await chunked.splitter.split(other, FAST_CDC) == split
        clock.now += 13 * HOUR
        await store.room.evict(0)
        assert chunked.lists() == 0


async def test_without_room_for_all_chunks_none_is_written(tmp_path: Path) -> None:
    limits = DiskLimits(2 * MIB, inline_bytes=64)
    with opened(tmp_path, limits) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        with pytest.raises(StoreFull):
            await chunked.splitter.split(BLOB, FAST_CDC)
        assert store.room.totals() == (1, len(DATA))
        assert (chunked.lists(), chunked.blobs.reads) == (0, 0)


async def test_a_split_makes_room_by_evicting_what_is_not_leased(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, DiskLimits(4 * MIB, inline_bytes=64), clock=clock) as store:
        old = await put(store.blobs, noise(2 * MIB, 1))
        clock.now += 2 * HOUR
        await put(store.blobs, DATA)
        split = await Chunked(store).splitter.split(BLOB, FAST_CDC)
        assert await store.blobs.find_missing([old, BLOB, *split.chunks]) == {old}


async def test_a_disk_that_refuses_in_the_middle_leaves_whole_blobs_alone(
    small_disk: Path,
) -> None:
    data = noise(4 * MIB)
    with opened(small_disk, LIMITS) as store:
        chunked = Chunked(store)
        blob = await put(store.blobs, data)
        with pytest.raises(StoreFull):
            await chunked.splitter.split(blob, FAST_CDC)
        assert chunked.lists() == 0
        assert list((small_disk / "incoming").iterdir()) == []
        assert await store.blobs.read_all(blob) == data


async def test_empty_and_absent_blobs(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        empty = Digest.of(b"")
        assert await chunked.splitter.split(empty, REP_MAX_CDC) == Split([empty], REP_MAX_CDC)
        for absent in (named(b"absent"), BLOB):
            with pytest.raises(BlobNotFound):
                await chunked.splitter.split(absent, REP_MAX_CDC)
