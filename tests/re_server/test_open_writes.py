from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from access.admission import Admission, ServerLimits
from access.identity import EVERYBODY, current_identity
from cas.digest import Digest
from cas.disk_open import OpenStore
from cas.store import DigestMismatch
from re_client.status import Overloaded, Refused, Unserved
from re_server.compression.codec import Codec
from re_server.compression.zstd import Zstd
from re_server.open_writes import IDLE_SECONDS, PART_BYTES, OpenWrite, OpenWrites
from re_server.resource_name import Resource
from tests.cas.disks import opened
from tests.cas.stores import MIB, named, noise

MAX_OPEN = 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OpenStore]:
    with opened(tmp_path) as made:
        yield made


def resource(data: bytes, codec: Codec | None = None) -> Resource:
    return Resource("", named(data), codec)


def open_writes(store: OpenStore, *, later_seconds: float = 0) -> OpenWrites:
    """Return a table of uploads. later_seconds: how far its clock is ahead of the uploads'."""
    running = asyncio.get_running_loop().time
    current_identity.set(EVERYBODY)
    admission = Admission(ServerLimits(calls=1, bytes_in_flight=1))
    return OpenWrites(
        store.blobs, admission, max_open=MAX_OPEN, clock=lambda: running() + later_seconds
    )


async def add(write: OpenWrite, data: bytes) -> None:
    await write.add(memoryview(data))


async def is_there(store: OpenStore, data: bytes) -> bool:
    return not await store.blobs.find_missing([named(data)])


async def settled() -> None:
    """Let tasks come to the end that they are at."""
    await asyncio.sleep(0.2)


@pytest.mark.parametrize("size", [1, 100, PART_BYTES - 1, PART_BYTES, 3 * PART_BYTES + 1, 2 * MIB])
@pytest.mark.parametrize("piece", [1000, 16_384, MIB])
async def test_an_upload_in_pieces_is_kept_when_it_is_finished(
    store: OpenStore, size: int, piece: int
) -> None:
    data = noise(size)
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(data))
        for at in range(0, size, piece):
            await add(write, data[at : at + piece])
            assert write.received == min(size, at + piece)
        assert not await is_there(store, data)
        await write.finish()
        writes.close("u", write)
        assert len(writes) == 0
    assert await store.blobs.read_all(named(data)) == data


async def test_a_compressed_upload_counts_bytes_of_the_blob(store: OpenStore) -> None:
    data = noise(MIB) + b"." * MIB
    packed = zstandard.compress(data)
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(data, Zstd()))
        for at in range(0, len(packed), 50_000):
            await add(write, packed[at : at + 50_000])
        assert write.received == len(data)
        await write.finish()
    assert await store.blobs.read_all(named(data)) == data


async def test_a_compressed_upload_goes_on_with_a_stream_of_its_own(store: OpenStore) -> None:
    # REAPI rule: the first offset of a compressed upload counts bytes of the blob.
    data = noise(600_000)
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(data, Zstd()))
        await add(write, zstandard.compress(data)[:400_000])
        kept = write.received
        assert 0 < kept < len(data)
        write.resume()
        await add(write, zstandard.compress(data[kept:]))
        await write.finish()
    assert await store.blobs.read_all(named(data)) == data


async def test_more_bytes_than_the_blob_has_are_refused_as_they_come(store: OpenStore) -> None:
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(b"12345"))
        await add(write, b"123")
        with pytest.raises(DigestMismatch):
            await add(write, b"456")
    assert not await is_there(store, b"12345")


async def test_a_bomb_is_refused_when_it_is_over_the_size_that_was_said(store: OpenStore) -> None:
    bomb = zstandard.compress(bytes(200 * MIB))
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(b"small", Zstd()))
        with pytest.raises(DigestMismatch):
            await add(write, bomb)


async def test_a_compressed_upload_that_is_cut_short_is_refused(store: OpenStore) -> None:
    data = noise(5000)
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(data, Zstd()))
        await add(write, zstandard.compress(data)[:-3])
        with pytest.raises(Refused, match="cut short"):
            await write.finish()
    assert not await is_there(store, data)


async def test_other_bytes_are_refused_at_the_end(store: OpenStore) -> None:
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(noise(5000, 1)))
        await add(write, noise(5000, 2))
        with pytest.raises(DigestMismatch):
            await write.finish()
    assert not await is_there(store, noise(5000, 1))


async def test_an_upload_ends_early_where_another_was_faster(store: OpenStore) -> None:
    # REAPI rule: the upload of a blob that exists ends at once, in its middle too.
    data = noise(MIB)
    await store.blobs.write_all(data, named(data))
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(data))
        await add(write, data[:10])
        await settled()
        assert write.ended
        await add(write, data[10 : 4 * PART_BYTES])
        await write.finish()


async def test_a_store_that_fails_frees_who_waits_for_it(store: OpenStore) -> None:
    # The queue to the store is full when its write ends; nobody may wait for ever for room in it.
    data = noise(64 * PART_BYTES)
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(data))

        async def send() -> None:
            for at in range(0, len(data), PART_BYTES):
                await add(write, data[at : at + PART_BYTES])

        sending = asyncio.create_task(send())
        await asyncio.sleep(0)
        write.cancel()
        async with asyncio.timeout(30):
            await sending
        assert write.ended
        with pytest.raises(Unserved):
            await write.finish()


async def test_a_connection_that_ends_while_the_store_is_slow_loses_nothing(
    store: OpenStore,
) -> None:
    data = noise(8 * PART_BYTES)
    async with (writes := open_writes(store)).closing():
        write = writes.begin("u", resource(data))
        while write.received < len(data):
            rest = data[write.received :]
            sending = asyncio.create_task(add(write, rest[:PART_BYTES]))
            await asyncio.sleep(0)  # long enough to be counted, and to wait where the queue is full
            sending.cancel()
            await asyncio.wait([sending])
        await write.finish()
        writes.close("u", write)
    assert await store.blobs.read_all(named(data)) == data


def held(writes: OpenWrites, number: int) -> OpenWrite:
    """Begin an upload that a connection holds."""
    write = writes.begin(f"u{number}", resource(noise(100, number)))
    write.holder = object()
    return write


async def test_no_more_are_open_at_once_than_the_bound(store: OpenStore) -> None:
    async with (writes := open_writes(store)).closing():
        for number in range(MAX_OPEN):
            held(writes, number)
        with pytest.raises(Overloaded, match=r"server\.max_open_writes"):
            held(writes, MAX_OPEN)
        assert len(writes) == MAX_OPEN
        writes.close("u0", open_at(writes, "u0"))
        held(writes, MAX_OPEN)


def open_at(writes: OpenWrites, name: str) -> OpenWrite:
    found = writes.find(name)
    assert found is not None
    return found


async def test_those_go_first_that_nobody_has_sent_anything_for_longest(store: OpenStore) -> None:
    async with (writes := open_writes(store)).closing():
        first, second, third = (held(writes, number) for number in range(3))
        second.holder = third.holder = None
        await asyncio.sleep(0.01)
        await add(second, b"still there")
        held(writes, 3)
        assert writes.find("u0") is first
        assert writes.find("u1") is second
        assert writes.find("u2") is None
        held(writes, 4)
        assert writes.find("u1") is None
        with pytest.raises(Overloaded):
            held(writes, 5)
        assert writes.find("u0") is first


async def test_those_that_were_left_for_an_hour_go_although_there_is_room(store: OpenStore) -> None:
    async with (writes := open_writes(store, later_seconds=IDLE_SECONDS + 1)).closing():
        held(writes, 0).holder = None
        held(writes, 1)
        assert writes.find("u0") is None
        held(writes, 2)
        assert writes.find("u1") is not None


async def test_an_upload_that_begins_again_gives_up_the_one_before(store: OpenStore) -> None:
    data = noise(5000)
    async with (writes := open_writes(store)).closing():
        old = writes.begin("u", resource(data))
        await add(old, data[:100])
        new = writes.begin("u", resource(data))
        assert writes.find("u") is new
        writes.close("u", old)
        assert writes.find("u") is new
        await add(new, data)
        await new.finish()
    assert await is_there(store, data)


async def test_what_is_open_at_the_end_goes_and_leaves_nothing(
    store: OpenStore, tmp_path: Path
) -> None:
    writes = open_writes(store)
    async with writes.closing():
        for number in range(MAX_OPEN):
            data = noise(4 * MIB, number)
            write = writes.begin(f"u{number}", Resource("", Digest.of(data), None))
            await add(write, data[: 2 * MIB])
    assert len(writes) == 0
    await settled()
    assert list((tmp_path / "incoming").iterdir()) == []
