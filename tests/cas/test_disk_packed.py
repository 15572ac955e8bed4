"""Blobs that are stored as zstd frames: which, how they are read, and plain ones beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings, strategies

from cas.digest import Digest
from cas.disk_files import blob_path
from cas.disk_index import PACKED, key_of
from cas.disk_open import StoreUnusable
from cas.disk_orphans import Removed, remove_orphans
from cas.disk_room import DiskLimits
from cas.packing import MAX_WINDOW_BYTES, PROBE_BYTES, UNPACKED_BYTES
from tests.cas.disks import HOUR, LIMITS, PACKING, Clock, file_of, opened, truncate
from tests.cas.stores import MIB, in_chunks, named, noise, prose, put

LARGE = 5 * MIB + 7  # of prose: its frame has three chunks


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return prose(LARGE)


def _packed(folder: Path, digest: Digest) -> bool:
    return file_of(folder, digest).suffix == ".zst"


async def _read(chunks: AsyncIterator[bytes] | None) -> bytes:
    assert chunks is not None
    return b"".join([chunk async for chunk in chunks])


# Which blobs are packed


@pytest.mark.parametrize("size", [300, 20_000, PROBE_BYTES - 1, PROBE_BYTES, PROBE_BYTES + 1, MIB])
async def test_what_compresses_is_packed_and_counts_as_it_lies(tmp_path: Path, size: int) -> None:
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, prose(size))
        other = await put(store.blobs, noise(size))
        assert _packed(tmp_path, digest)
        assert not _packed(tmp_path, other)
        stored = file_of(tmp_path, digest).stat().st_size
        assert stored < 0.8 * size
        assert store.room.totals() == (2, stored + size)
        assert store.room.packed_totals() == (1, size, stored)
        assert store.room.packed_totals().saved == size - stored
        assert await store.blobs.read_many([digest, other]) == {
            digest: prose(size),
            other: noise(size),
        }


async def test_small_blobs_stay_in_the_index_as_they_are(tmp_path: Path) -> None:
    with opened(tmp_path, PACKING) as store:
        await put(store.blobs, b"z" * LIMITS.inline_bytes)
        assert store.room.totals() == (1, LIMITS.inline_bytes)
        assert store.room.packed_totals() == (0, 0, 0)


@pytest.mark.parametrize("saves", [0.3, 0.45, 0.9])
async def test_the_first_bytes_decide_by_what_is_to_be_saved(tmp_path: Path, saves: float) -> None:
    half = prose(PROBE_BYTES)
    first = zstandard.ZstdCompressor(level=1).compress(half)
    pays = len(first) < (1 - saves) * PROBE_BYTES
    with opened(tmp_path, replace(PACKING, compression_saves=saves)) as store:
        digest = await put(store.blobs, half + noise(MIB))
        assert _packed(tmp_path, digest) is pays
        other = await put(store.blobs, noise(PROBE_BYTES) + bytes(MIB))
        assert not _packed(tmp_path, other)
        assert await store.blobs.read_all(digest) == half + noise(MIB)


@pytest.mark.parametrize("cut", [1000, PROBE_BYTES, PROBE_BYTES + 1, 3 * MIB])
async def test_the_frame_does_not_depend_on_how_uploads_are_cut(
    tmp_path: Path, large: bytes, cut: int
) -> None:
    with opened(tmp_path, PACKING) as store:
        await store.blobs.write(named(large), in_chunks(large, cut))
        frame = await _read(store.blobs.read_packed(named(large)))
    assert frame == file_of(tmp_path, named(large)).read_bytes()
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.content_size == len(large)
    assert parameters.window_size <= MAX_WINDOW_BYTES
    assert parameters.dict_id == 0
    assert parameters.has_checksum
    assert zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False) == large


async def test_a_frame_larger_than_its_blob_keeps_to_the_bound(tmp_path: Path) -> None:
    clock = Clock()
    limits = replace(PACKING, max_bytes=200_000, compression_saves=-1)
    with opened(tmp_path, limits, clock=clock) as store:
        for seed in range(20):
            digest = await put(store.blobs, noise(100_000, seed))
            assert file_of(tmp_path, digest).stat().st_size > 100_000
            assert store.room.totals().bytes <= limits.max_bytes
            clock.now += 2 * HOUR


# How they are read


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(offsets=strategies.lists(strategies.integers(0, LARGE), min_size=1, max_size=4))
async def test_any_offset_reads_the_rest(tmp_path: Path, large: bytes, offsets: list[int]) -> None:
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, large)
        for offset in offsets:
            assert await _read(store.blobs.read(digest, offset=offset)) == large[offset:]


async def test_chunks_are_bounded_however_well_a_blob_compresses(tmp_path: Path) -> None:
    data = bytes(20 * MIB)
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, data)
        assert file_of(tmp_path, digest).stat().st_size < 10_000
        sizes = [len(chunk) async for chunk in store.blobs.read(digest)]
    assert (sum(sizes), max(sizes)) == (len(data), UNPACKED_BYTES)


async def test_only_packed_blobs_are_read_packed(tmp_path: Path) -> None:
    with opened(tmp_path, PACKING) as store:
        others = [b"", b"z" * 50, noise(5000)]
        for data in others:
            await put(store.blobs, data)
            assert store.blobs.read_packed(named(data)) is None
        assert store.blobs.read_packed(named(b"absent")) is None


async def test_a_packed_read_holds_the_blob_as_any_read(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, PACKING, clock=clock) as store:
        digests = [await put(store.blobs, prose(5000, seed)) for seed in range(2)]
        clock.now += 2 * HOUR
        await _read(store.blobs.read_packed(digests[0]))
        assert (await store.room.evict(0)).blobs == 1
        assert await store.blobs.find_missing(digests) == {digests[1]}


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_reads_that_are_cancelled_at_any_point_close_their_files(
    tmp_path: Path, large: bytes, turns: int
) -> None:
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, large)
        before = _open_files()
        reading = [
            asyncio.create_task(store.blobs.read_all(digest)),
            asyncio.create_task(_read(store.blobs.read_packed(digest))),
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        for each in reading:
            each.cancel()
            with suppress(asyncio.CancelledError):  # it may have come to its end before
                await each
        assert await store.blobs.read_all(digest) == large
    assert _open_files() <= before


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Eviction


async def test_eviction_counts_what_is_stored(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, PACKING, clock=clock) as store:
        digests = []
        for seed in range(5):
            digests.append(await put(store.blobs, prose(20_000, seed)))
            clock.now += 60
        clock.now += 2 * HOUR
        files = [file_of(tmp_path, digest) for digest in digests]
        sizes = [file.stat().st_size for file in files]
        gone = await store.room.evict(sum(sizes) - sizes[0] - 1)
        assert (gone.blobs, gone.bytes) == (2, sum(sizes[:2]))
        assert [file.exists() for file in files] == [False] * 2 + [True] * 3
        assert store.room.totals() == (3, sum(sizes[2:]))
        assert store.room.packed_totals() == (3, 60_000, sum(sizes[2:]))


async def test_more_fits_where_it_is_packed(tmp_path: Path) -> None:
    with opened(tmp_path, replace(PACKING, max_bytes=100_000)) as store:
        for seed in range(7):
            await put(store.blobs, prose(20_000, seed))
        assert store.room.totals().blobs == 7


# Both forms beside each other


async def test_blobs_stay_as_they_are_when_the_setting_changes(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        plain = await put(store.blobs, prose(5000, 1))
    with opened(tmp_path, PACKING) as store:
        packed = await put(store.blobs, prose(5000, 2))
        assert await put(store.blobs, prose(5000, 1)) == plain
    for limits in [LIMITS, PACKING, LIMITS]:
        with opened(tmp_path, limits) as store:
            assert (_packed(tmp_path, plain), _packed(tmp_path, packed)) == (False, True)
            assert await store.blobs.find_missing([plain, packed]) == set()
            assert await store.blobs.read_many([plain, packed]) == {
                plain: prose(5000, 1),
                packed: prose(5000, 2),
            }
            assert store.room.packed_totals().blobs == 1


@pytest.mark.parametrize("first", [LIMITS, PACKING], ids=["plain", "packed"])
@pytest.mark.parametrize("left", ["damaged", "orphan"])
async def test_a_blob_that_comes_back_in_the_other_form_leaves_nothing_of_the_first(
    tmp_path: Path, first: DiskLimits, left: str
) -> None:
    second = replace(first, compression=not first.compression)
    data = prose(5000)
    with opened(tmp_path, first) as store:
        digest = await put(store.blobs, data)
        if left == "orphan":
            await store.environment.write(lambda write: store.index.drop(write, key_of(digest)))
        else:
            truncate(file_of(tmp_path, digest), 5)
    with opened(tmp_path, second) as store:
        await put(store.blobs, data)
        assert await store.blobs.read_all(digest) == data
        assert _packed(tmp_path, digest) is second.compression
        assert _files(tmp_path) == [file_of(tmp_path, digest)]
        assert store.room.totals().blobs == 1
        assert store.room.packed_totals().blobs == int(second.compression)


def _files(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


async def test_a_file_of_the_other_form_beside_a_blob_is_an_orphan(tmp_path: Path) -> None:
    with opened(tmp_path, PACKING) as store:
        packed = await put(store.blobs, prose(5000))
        plain = await put(store.blobs, noise(5000))
    _leave(tmp_path, packed, packed=False)
    _leave(tmp_path, plain, packed=True)
    _leave(tmp_path, named(b"nobody"), packed=True)
    (tmp_path / "boot").write_text("fsync\n")  # as after a crash
    with opened(tmp_path, PACKING) as store:
        assert await remove_orphans(store, pause_seconds=0) == Removed(3, 3 * 8)
        assert await store.blobs.read_many([packed, plain]) == {
            packed: prose(5000),
            plain: noise(5000),
        }


def _leave(folder: Path, digest: Digest, *, packed: bool) -> None:
    """Leave a file that has no record."""
    path = Path(blob_path(folder / "blobs", digest, packed=packed))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"stranger")


# The store's format


def _format(folder: Path) -> str:
    return (folder / "format").read_text()


async def test_the_format_rises_when_packing_is_first_on_and_never_falls(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS) as store:
        digests = [await put(store.blobs, prose(size)) for size in [10, 5000]]
        assert _format(tmp_path) == "holdfast store 1\n"
    for limits in [PACKING, LIMITS]:
        with opened(tmp_path, limits) as store:
            assert _format(tmp_path) == "holdfast store 2\n"
            assert await store.blobs.find_missing(digests) == set()
            assert store.room.totals() == (2, 5010)


async def test_a_store_that_cannot_be_opened_keeps_its_format(tmp_path: Path) -> None:
    with opened(tmp_path, LIMITS):
        pass
    (tmp_path / "index" / "data.mdb").write_bytes(b"damaged" * 1000)
    with pytest.raises(StoreUnusable), opened(tmp_path, PACKING):
        pass
    assert _format(tmp_path) == "holdfast store 1\n"


async def test_a_lease_leaves_a_packed_record_what_it_is(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, PACKING, clock=clock) as store:
        digest = await put(store.blobs, prose(5000))
        clock.now += HOUR
        await store.blobs.find_missing([digest])
        with store.environment.read() as read:
            record = store.index.get(read, key_of(digest))
        assert record is not None
        assert record.until > clock.now + 12 * HOUR
        assert record.kind == PACKED
        assert record.packed == file_of(tmp_path, digest).stat().st_size
