"""A task that is cancelled leaves a thread at work, which must not meet a closed file."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from cas.disk_lane import Lane
from cas.store import BlobNotFound
from tests.cas.disks import opened
from tests.cas.stores import MIB, in_chunks, named, noise, put


async def test_a_lane_closes_at_once_where_nothing_is_at_work() -> None:
    told: list[str] = []
    with ThreadPoolExecutor(1) as threads:
        lane = Lane(threads)
        lane.close(lambda: told.append("unused"))
        assert await lane.run(lambda: "result") == "result"
        lane.close(lambda: told.append("idle"))
        assert told == ["unused", "idle"]


async def test_a_lane_closes_after_the_thread_that_a_cancelled_task_left() -> None:
    told: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait()
        told.append("worked")

    with ThreadPoolExecutor(1) as threads:
        lane = Lane(threads)
        running = asyncio.create_task(lane.run(work))
        await asyncio.to_thread(begun.wait)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        lane.close(lambda: told.append("closed"))
        assert told == []
        go_on.set()
    assert told == ["worked", "closed"]


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_a_read_that_is_cancelled_at_any_point_closes_its_file(
    tmp_path: Path, turns: int
) -> None:
    data = noise(2 * MIB)
    with opened(tmp_path) as store:
        digest = await put(store.blobs, data)
        before = _open_files()
        reading = asyncio.create_task(store.blobs.read_all(digest))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        with suppress(asyncio.CancelledError):  # it may have come to its end before
            await reading
        assert await store.blobs.read_all(digest) == data
    assert _open_files() <= before


@pytest.mark.parametrize("turns", range(0, 16, 2))
async def test_a_write_that_is_cancelled_at_any_point_harms_nothing(
    tmp_path: Path, turns: int
) -> None:
    data = noise(2 * MIB + 1)
    with opened(tmp_path) as store:
        writing = asyncio.create_task(store.blobs.write(named(data), in_chunks(data, 100_000)))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await store.environment.write(lambda write: None)
        if await store.blobs.find_missing([named(data)]):
            with pytest.raises(BlobNotFound):
                await store.blobs.read_all(named(data))
        await store.blobs.write_all(data, named(data))
        assert await store.blobs.read_all(named(data)) == data
        assert store.room.totals() == (1, len(data))
        assert store.blobs.counters.quarantined == 0
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_many_uploads_that_are_cancelled_spoil_no_other(tmp_path: Path) -> None:
    with opened(tmp_path) as store:

        async def endless(seed: int) -> AsyncIterator[bytes]:
            while True:
                yield noise(MIB, seed)

        given_up = [
            asyncio.create_task(store.blobs.write(named(b"")._replace(size=1 << 28), endless(seed)))
            for seed in range(2)
        ]
        blobs = {named(data): data for data in (noise(MIB + 1, 100 + seed) for seed in range(20))}
        for number, (digest, data) in enumerate(blobs.items()):
            await store.blobs.write_all(data, digest)
            if number == 10:
                for upload in given_up:
                    upload.cancel()
        for upload in given_up:
            with pytest.raises(asyncio.CancelledError):
                await upload
        assert await store.blobs.read_many(list(blobs)) == blobs


def _open_files() -> int:
    return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))
