"""Files that no record names go after an unclean end, and no others, whatever is going on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cas.digest import Digest, DigestFunction
from cas.disk_index import key_of
from cas.disk_orphans import Removed, remove_orphans
from tests.cas.disks import file_of, opened
from tests.cas.stores import named, noise, put


def _crash(folder: Path) -> None:
    """Make a store look as one does whose process was killed."""
    (folder / "boot").write_text("fsync\n")


def _orphan(folder: Path, data: bytes, function: DigestFunction = DigestFunction.SHA256) -> Path:
    """Leave a file as a crash does between its move and its commit."""
    path = file_of(folder, named(data, function))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o444)
    os.utime(path, ns=(0, 0))
    return path


async def _stored(folder: Path, count: int = 5) -> list[Digest]:
    with opened(folder) as store:
        return [await put(store.blobs, noise(1000, seed)) for seed in range(count)]


async def test_orphans_go_after_an_unclean_end_and_blobs_stay(tmp_path: Path) -> None:
    digests = await _stored(tmp_path)
    orphans = [_orphan(tmp_path, noise(500, seed), function) for seed in range(100) for function in DigestFunction]  # fmt: skip  # noqa: E501
    _crash(tmp_path)
    with opened(tmp_path) as store:
        gone = await remove_orphans(store, pause_seconds=0)
        assert gone == Removed(len(orphans), 500 * len(orphans))
        assert not any(orphan.exists() for orphan in orphans)
        assert await store.blobs.read_many(digests) == {
            digest: noise(1000, seed) for seed, digest in enumerate(digests)
        }
        assert await remove_orphans(store, pause_seconds=0) == Removed()


async def test_after_a_clean_end_nothing_is_walked(tmp_path: Path) -> None:
    await _stored(tmp_path)
    orphan = _orphan(tmp_path, noise(500))
    with opened(tmp_path) as store:
        assert await remove_orphans(store, pause_seconds=0) == Removed()
    assert orphan.exists()


async def test_a_walk_that_was_cut_short_begins_anew_at_the_next_opening(tmp_path: Path) -> None:
    orphans = [_orphan(tmp_path, noise(500, seed)) for seed in range(5)]
    _crash(tmp_path)
    with opened(tmp_path) as store:
        walk = asyncio.create_task(remove_orphans(store, pause_seconds=3600))
        while all(orphan.exists() for orphan in orphans):  # noqa: ASYNC110 - the walk tells nobody
            await asyncio.sleep(0)
        walk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await walk
    with opened(tmp_path) as store:
        await remove_orphans(store, pause_seconds=0)
    assert not any(orphan.exists() for orphan in orphans)


async def test_a_file_beside_an_inline_blob_is_an_orphan(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        digest = await put(store.blobs, noise(10))
    orphan = _orphan(tmp_path, noise(10))
    _crash(tmp_path)
    with opened(tmp_path) as store:
        assert (await remove_orphans(store, pause_seconds=0)).files == 1
        assert await store.blobs.read_all(digest) == noise(10)
    assert not orphan.exists()


async def test_what_is_not_named_as_a_blob_is_left_alone(tmp_path: Path) -> None:
    await _stored(tmp_path)
    name = named(b"elsewhere")
    right = file_of(tmp_path, name)
    folder = tmp_path / "blobs" / "ff" / "ff"
    folder.mkdir(parents=True)
    strangers = [
        tmp_path / "blobs" / "notes",
        tmp_path / "blobs" / "ff" / "notes",
        *(folder / other for other in ["notes", "a-b-c", "sha256-00-1", right.name]),
        right.with_name(f"{right.name}.bak"),
        right.with_name(right.name.replace("-9", "-+9")),
    ]
    right.parent.mkdir(parents=True)
    for stranger in strangers:
        stranger.write_bytes(b"elsewhere")
        os.utime(stranger, ns=(0, 0))
    right.mkdir()
    _crash(tmp_path)
    with opened(tmp_path) as store:
        assert await remove_orphans(store, pause_seconds=0) == Removed()
    assert all(stranger.exists() for stranger in strangers)


async def test_a_file_made_since_the_opening_is_left_alone(tmp_path: Path) -> None:
    _crash(tmp_path)
    with opened(tmp_path) as store:
        orphan = _orphan(tmp_path, noise(500))
        orphan.touch()
        assert await remove_orphans(store, pause_seconds=0) == Removed()
    assert orphan.exists()


async def test_an_orphan_that_is_uploaded_meanwhile_stays(tmp_path: Path) -> None:
    blobs = {named(data): data for data in (noise(500, seed) for seed in range(300))}
    for data in blobs.values():
        _orphan(tmp_path, data)
    _crash(tmp_path)
    with opened(tmp_path) as store:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(remove_orphans(store, pause_seconds=0))
            for digest, data in blobs.items():
                tasks.create_task(store.blobs.write_all(data, digest))
        assert await store.blobs.find_missing(blobs) == set()
        assert await store.blobs.read_many(list(blobs)) == blobs


async def test_a_record_without_its_file_is_not_the_walks_affair(tmp_path: Path) -> None:
    digests = await _stored(tmp_path)
    file_of(tmp_path, digests[0]).unlink()
    _crash(tmp_path)
    with opened(tmp_path) as store:
        assert await remove_orphans(store, pause_seconds=0) == Removed()
        with store.environment.read() as read:
            assert store.index.get(read, key_of(digests[0])) is not None
        assert await store.blobs.find_missing(digests) == {digests[0]}
