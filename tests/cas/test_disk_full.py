"""A disk, or an index, that is really full: what is there stays, and more fits once there is room.

Needs the right to mount a tmpfs, as root has, or in a user name space of its own.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.disk_open import StoreUnusable
from cas.disk_room import DiskLimits
from cas.store import BlobNotFound, BlobStore, StoreFull
from tests.cas.disks import HOUR, Clock, opened
from tests.cas.stores import MIB, in_chunks, named, noise, put

SMALL_DISK = "8m"
LIMITS = DiskLimits(1 << 30, inline_bytes=4096, lease_seconds=HOUR, upload_lease_seconds=HOUR)
FILES, INLINE = 100_000, 4000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 8 MiB. A machine that forbids it cannot run these tests, and is told so."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.fail(
            f"cannot mount a tmpfs to fill: {mounted.stderr.strip()}; run the tests as root, or "
            "with: unshare --user --map-root-user --mount make test"
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def _fill(store: BlobStore, size: int) -> tuple[list[Digest], StoreFull]:
    """Write blobs of `size` bytes until the store refuses one; return those it took, and why."""
    taken: list[Digest] = []
    for seed in count():
        try:
            taken.append(await put(store, noise(size, seed)))
        except StoreFull as error:
            return taken, error
    raise AssertionError


async def _all_there(store: BlobStore, digests: list[Digest]) -> None:
    for digest in digests:
        data = await store.read_all(digest)
        assert named(data) == digest


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("size", [FILES, INLINE])
async def test_a_full_disk_refuses_uploads_and_harms_nothing(
    small_disk: Path, size: int, *, durable: bool
) -> None:
    clock = Clock()
    limits = replace(LIMITS, durable=durable)
    with opened(small_disk, limits, clock=clock) as store:
        taken, _ = await _fill(store.blobs, size)
        assert len(taken) > 3 * MIB // size
        for seed in range(20_000, 20_010):
            with pytest.raises(StoreFull):
                await put(store.blobs, noise(3 * MIB, seed))
        assert list((small_disk / "incoming").iterdir()) == []
        await _all_there(store.blobs, taken)
        assert store.room.totals() == (len(taken), len(taken) * size)
        assert await store.blobs.find_missing(taken) == set()
        clock.now += 2 * HOUR
        gone = await store.room.evict(len(taken) // 2 * size)
        assert gone.blobs == len(taken) - len(taken) // 2
        kept = list(set(taken) - await store.blobs.find_missing(taken))
        more = [await put(store.blobs, noise(size, 30_000 + seed)) for seed in range(5)]
        await _all_there(store.blobs, kept + more)
    with opened(small_disk, limits, clock=clock) as store:
        await _all_there(store.blobs, kept + more)


async def test_an_upload_that_meets_the_end_of_the_disk_keeps_nothing(small_disk: Path) -> None:
    data = noise(12 * MIB)
    with opened(small_disk, LIMITS) as store:
        with pytest.raises(StoreFull) as told:
            await store.blobs.write(named(data), in_chunks(data, MIB))
        assert str(told.value) == "the disk of the store refuses writes: No space left on device"
        assert store.blobs.counters.refused == 1
        assert await store.blobs.find_missing([named(data)]) == {named(data)}
        with pytest.raises(BlobNotFound):
            await store.blobs.read_all(named(data))
        await _all_there(store.blobs, [await put(store.blobs, noise(3 * MIB, 1))])


def _fill_with_a_stranger(folder: Path) -> Path:
    """Take all that is left of a disk, as another program might."""
    stranger = folder / "stranger"
    with stranger.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - the loop ends in no other way
    return stranger


async def test_a_disk_that_others_filled_works_again_when_they_go(small_disk: Path) -> None:
    clock = Clock()
    with opened(small_disk, LIMITS, clock=clock) as store:
        taken = [await put(store.blobs, noise(size, size)) for size in [50, 4000, 5000, MIB]]
        clock.now += HOUR / 2
        stranger = _fill_with_a_stranger(small_disk)
        for size in [50, 4000, 5000, MIB]:
            failed = await store.blobs.write_many({named(noise(size, 1)): noise(size, 1)})
            assert all(isinstance(error, StoreFull) for error in failed.values())
        await _all_there(store.blobs, taken)
        stranger.unlink()
        more = [await put(store.blobs, noise(size, 2)) for size in [50, 4000, 5000, MIB]]
        await _all_there(store.blobs, taken + more)
        assert await store.blobs.find_missing(taken + more) == set()


async def test_a_batch_on_a_full_disk_names_each_blob_that_is_not_kept(small_disk: Path) -> None:
    # REAPI rule: errors of a batch are per blob.
    with opened(small_disk, LIMITS) as store:
        _fill_with_a_stranger(small_disk)
        blobs = {named(noise(4000, seed)): noise(4000, seed) for seed in range(500)}
        failed = await store.blobs.write_many(blobs)
        assert failed.keys() == blobs.keys()
        assert {type(error) for error in failed.values()} == {StoreFull}
        assert await store.blobs.find_missing(blobs) == blobs.keys()


async def test_a_lost_blob_on_a_full_disk_is_a_miss_all_the_same(small_disk: Path) -> None:
    with opened(small_disk, LIMITS) as store:
        digest = await put(store.blobs, noise(5000))
        _fill_with_a_stranger(small_disk)
        _damage_any_file(small_disk)
        with pytest.raises(BlobNotFound):
            await store.blobs.read_all(digest)
        assert await store.blobs.find_missing([digest]) == {digest}


def _damage_any_file(folder: Path) -> None:
    for file in (folder / "blobs").rglob("sha256-*"):
        file.chmod(0o644)
        os.truncate(file, 10)


async def test_a_full_disk_does_not_keep_a_store_from_opening(small_disk: Path) -> None:
    with opened(small_disk, LIMITS) as store:
        taken, _ = await _fill(store.blobs, FILES)
    with opened(small_disk, LIMITS) as store:
        await _all_there(store.blobs, taken)


def test_no_room_for_a_new_store_is_told(small_disk: Path) -> None:
    stranger = _fill_with_a_stranger(small_disk)
    with pytest.raises(StoreUnusable, match="No space left on device"), opened(small_disk / "new"):
        pass
    stranger.unlink()
    with opened(small_disk / "new"):
        pass


@pytest.mark.parametrize("size", [4000, 5000])
async def test_a_full_index_refuses_uploads_and_harms_nothing(tmp_path: Path, size: int) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock, index_bytes=MIB // 8) as store:
        taken, told = await _fill(store.blobs, size)
        assert str(told).startswith("no room for the index: ")
        assert str(told).endswith("free disk space or raise store.index_bytes")
        await _all_there(store.blobs, taken)
        assert store.room.totals() == (len(taken), len(taken) * size)
    with opened(tmp_path, LIMITS, clock=clock, index_bytes=16 * MIB) as store:
        more = [await put(store.blobs, noise(size, 20_000 + seed)) for seed in range(300)]
        await _all_there(store.blobs, taken + more)
        clock.now += 2 * HOUR
        assert (await store.room.evict(0)).blobs == len(taken + more)
