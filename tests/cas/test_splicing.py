"""Blobs that are made of chunks: verified whole or not kept, and how they are split later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cas.chunk_list import ChunksMissing, ChunksUnfit
from cas.chunking.cutter import Chunking, ChunkingFunction
from cas.chunking.fast_cdc import FastCdc
from cas.disk_room import DiskLimits
from cas.splicing import COMPARED_BYTES
from cas.splitting import Split
from cas.store import BlobNotFound, BlobTooLarge, DigestMismatch, StoreFull
from tests.cas.disks import HOUR, Clock, file_of, flip, opened
from tests.cas.splitting import CHUNKINGS, KIB, MAX_CHUNKS, Chunked, blob_of, cut, cut_at, put_all
from tests.cas.stores import MIB, named, noise, put

UNKNOWN = ChunkingFunction.UNKNOWN
FAST_CDC = ChunkingFunction.FAST_CDC_2020
LIMITS = DiskLimits(1 << 30, inline_bytes=64)
DATA = noise(3 * MIB // 2)
BLOB = named(DATA)


@pytest.mark.parametrize("chunking", [CHUNKINGS.fast_cdc, CHUNKINGS.rep_max_cdc], ids=str)
async def test_a_blob_that_was_cut_as_is_said_need_not_be_cut_again(
    tmp_path: Path, chunking: Chunking
) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        chunks = await put_all(store.blobs, cut(chunking, DATA))
        await chunked.splicer.splice(BLOB, chunks, chunking.function)
        assert await store.blobs.read_all(BLOB) == DATA
        reads = chunked.blobs.reads
        assert await chunked.splitter.split(BLOB, chunking.function) == Split(
            chunks, chunking.function
        )
        assert chunked.blobs.reads == reads


async def test_of_a_large_blob_the_start_is_compared(tmp_path: Path) -> None:
    fast = FastCdc(256 * KIB)
    whole = cut(fast, noise(COMPARED_BYTES + 3 * MIB))
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store, replace(CHUNKINGS, fast_cdc=fast))
        await chunked.splicer.splice(blob_of(whole), await put_all(store.blobs, whole), FAST_CDC)
        assert chunked.splits.find(blob_of(whole), fast) == [named(chunk) for chunk in whole]


@pytest.mark.parametrize(
    "sizes",
    [
        [len(DATA) - 5, 5],  # out of bounds
        [64 * KIB] * (len(DATA) // (64 * KIB)),  # within them, and of a fixed size
        [len(chunk) for chunk in cut(FastCdc(64 * KIB, seed=1), DATA)],
        [0, *(len(chunk) for chunk in cut(CHUNKINGS.fast_cdc, DATA))],
    ],
    ids=["bounds", "fixed", "seed", "empty"],
)
async def test_a_blob_that_was_cut_otherwise_than_is_said_counts_as_cut_in_nobodys_way(
    tmp_path: Path, sizes: list[int]
) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        chunks = await put_all(store.blobs, cut_at(DATA, sizes))
        await chunked.splicer.splice(BLOB, chunks, FAST_CDC)
        assert await chunked.splitter.split(BLOB, UNKNOWN) == Split(chunks, UNKNOWN)
        split = await chunked.splitter.split(BLOB, FAST_CDC)
        assert split.chunks == [named(chunk) for chunk in cut(CHUNKINGS.fast_cdc, DATA)]
        assert await chunked.splitter.split(BLOB, UNKNOWN) == split


async def test_small_blobs_and_those_of_one_chunk_are_not_remembered(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        small = [noise(600 * KIB), noise(MIB - 600 * KIB - 1, 1)]
        await chunked.splicer.splice(blob_of(small), await put_all(store.blobs, small), UNKNOWN)
        await chunked.splicer.splice(BLOB, await put_all(store.blobs, [DATA]), UNKNOWN)
        assert chunked.lists() == 0


async def test_of_a_blob_that_is_there_nothing_is_remembered_or_read(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        await put(store.blobs, DATA)
        wrong = await put_all(store.blobs, [noise(len(DATA) - 9, 1), noise(9)])
        await chunked.splicer.splice(BLOB, wrong, UNKNOWN)
        assert (chunked.lists(), chunked.blobs.reads) == (0, 0)


async def test_a_blob_that_is_there_is_leased_with_its_chunks(tmp_path: Path) -> None:
    # REAPI rule: success where the blob exists says that the chunks live longer too.
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        chunked = Chunked(store)
        chunks = await put_all(store.blobs, cut_at(DATA, [MIB, len(DATA) - MIB]))
        for _ in range(3):
            await chunked.splicer.splice(BLOB, chunks, UNKNOWN)
            await chunked.splicer.splice(BLOB, chunks, UNKNOWN)
            clock.now += 11 * HOUR
            await store.room.evict(0)
        assert await chunked.joined([*chunks, BLOB]) == DATA + DATA


@pytest.mark.parametrize("size", [20, 300 * KIB])
async def test_chunks_that_are_not_the_blob_leave_nothing(tmp_path: Path, size: int) -> None:
    data = [noise(size, 1), noise(size, 2)]
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        chunks = await put_all(store.blobs, data)
        before = store.room.totals()
        with pytest.raises(DigestMismatch):
            await chunked.splicer.splice(blob_of(data), chunks[::-1], UNKNOWN)
        assert (store.room.totals(), chunked.lists()) == (before, 0)
        assert list((tmp_path / "incoming").iterdir()) == []


async def test_a_chunk_that_is_lost_while_it_is_read_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        chunks = await put_all(store.blobs, cut_at(DATA, [MIB, len(DATA) - MIB]))
        flip(file_of(tmp_path, chunks[1]), at=9)
        with pytest.raises(BlobNotFound) as caught:
            await chunked.splicer.splice(BLOB, chunks, UNKNOWN)
        assert caught.value.digest == chunks[1]
        assert await store.blobs.find_missing([BLOB, *chunks]) == {BLOB, chunks[1]}
        with pytest.raises(ChunksMissing, match=chunks[1].hash):
            await chunked.splicer.splice(BLOB, chunks, UNKNOWN)


async def test_a_blob_without_room_is_refused_before_a_chunk_is_read(tmp_path: Path) -> None:
    with opened(tmp_path, DiskLimits(2 * MIB, inline_bytes=64)) as store:
        chunked = Chunked(store)
        (chunk,) = await put_all(store.blobs, [data := noise(MIB)])
        await store.blobs.find_missing([chunk])
        with pytest.raises(StoreFull):
            await chunked.splicer.splice(
                blob_of([data, b"1"]), [chunk, await put(store.blobs, b"1")], UNKNOWN
            )
        with pytest.raises(BlobTooLarge):
            await chunked.splicer.splice(blob_of([data] * 3), [chunk] * 3, UNKNOWN)
        assert chunked.blobs.reads == 0


async def test_what_cannot_be_the_blob_is_seen_without_looking_for_it(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        chunked = Chunked(store)
        one = named(b"1")
        with pytest.raises(ChunksUnfit, match="2 bytes in all, and blob_digest says 3"):
            await chunked.splicer.splice(named(b"111"), [one, one], UNKNOWN)
        many = MAX_CHUNKS + 1
        with pytest.raises(ChunksUnfit, match=r"1001 chunks are more than chunking\.max_chunks"):
            await chunked.splicer.splice(named(b"1" * many), [one] * many, UNKNOWN)
