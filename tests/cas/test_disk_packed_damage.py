"""A packed blob whose file is damaged is a miss, is set aside, and comes back with its upload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard
from xxhash import xxh3_64_digest

from cas.digest import Digest
from cas.disk_files import CHUNK_BYTES, blob_path, identity_of
from cas.disk_index import key_of
from cas.disk_open import OpenStore
from cas.store import BlobCorrupt, BlobNotFound
from tests.cas.disks import PACKING, file_of, flip, opened, quarantined, truncate
from tests.cas.stores import MIB, named, prose, put

LARGE = 5 * MIB + 7  # of prose: its frame has three chunks


async def _comes_back(store: OpenStore, data: bytes) -> None:
    digest = named(data)
    assert await store.blobs.find_missing([digest]) == {digest}
    await store.blobs.write_all(data, digest)
    assert await store.blobs.read_all(digest) == data
    assert await store.blobs.find_missing([digest]) == set()
    assert store.room.totals().blobs == 1


async def _read_until_lost(chunks: AsyncIterator[bytes] | None) -> tuple[bytes, BlobNotFound]:
    """Return what could be read of a blob, and how that ended."""
    assert chunks is not None
    got = b""
    try:
        async for part in chunks:
            got += part
    except BlobNotFound as lost:
        return got, lost
    raise AssertionError("it was read to its end")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: truncate(path, path.stat().st_size - 1),
    "empty": lambda path: truncate(path, 0),
    "longer": lambda path: truncate(path, path.stat().st_size + 1),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("read", ["plain", "packed"])
@pytest.mark.parametrize("chunk", range(3))
async def test_a_flipped_bit_in_any_chunk_is_found_and_heals(
    tmp_path: Path, chunk: int, read: str
) -> None:
    data = prose(LARGE)
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, data)
        frame = file_of(tmp_path, digest).read_bytes()
        assert len(frame) // CHUNK_BYTES == 2
        flip(file_of(tmp_path, digest), chunk * CHUNK_BYTES + 5)
        plain = read == "plain"
        chunks = store.blobs.read(digest) if plain else store.blobs.read_packed(digest)
        got, lost = await _read_until_lost(chunks)
        assert (data if plain else frame).startswith(got)
        assert bool(got) is (chunk > 0)
        assert isinstance(lost, BlobCorrupt) is (chunk > 0)
        assert store.blobs.counters.quarantined == len(quarantined(tmp_path)) == 1
        await _comes_back(store, data)


async def test_damage_before_an_offset_is_found_too(tmp_path: Path) -> None:
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, prose(LARGE))
        flip(file_of(tmp_path, digest), 5)
        got, lost = await _read_until_lost(store.blobs.read(digest, offset=4 * MIB))
        assert (got, isinstance(lost, BlobCorrupt)) == (b"", False)


@pytest.mark.parametrize("name", DAMAGES)
async def test_a_file_of_another_size_is_missing_before_it_is_read(
    tmp_path: Path, name: str
) -> None:
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, prose(5000))
        DAMAGES[name](file_of(tmp_path, digest))
        await _comes_back(store, prose(5000))
        DAMAGES[name](file_of(tmp_path, digest))
        got, _ = await _read_until_lost(store.blobs.read_packed(digest))
        assert got == b""
        await _comes_back(store, prose(5000))
        DAMAGES[name](file_of(tmp_path, digest))
        with pytest.raises(BlobNotFound):
            await store.blobs.read_all(digest)
        await _comes_back(store, prose(5000))


@pytest.mark.parametrize("other", ["plain", "frame"])
async def test_another_file_in_its_place_is_damage(tmp_path: Path, other: str) -> None:
    data = prose(5000)
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, data)
        file = file_of(tmp_path, digest)
        size = file.stat().st_size
        swapped = data[:size] if other == "plain" else _frame(prose(5000, 1)).ljust(size)[:size]
        _put_file(file, swapped)
        with pytest.raises(BlobNotFound):
            await store.blobs.read_all(digest)
        assert quarantined(tmp_path) == [swapped]
        await _comes_back(store, data)


def _frame(data: bytes, *, write_checksum: bool = False) -> bytes:
    return zstandard.ZstdCompressor(level=1, write_checksum=write_checksum).compress(data)


async def _plant(store: OpenStore, digest: Digest, frame: bytes) -> None:
    """Enter `frame` as what is stored of `digest`, with checksums that are right."""
    _put_file(Path(blob_path(store.folder / "blobs", digest, packed=True)), frame)
    starts = range(0, len(frame), CHUNK_BYTES)
    sums = b"".join(xxh3_64_digest(frame[start : start + CHUNK_BYTES]) for start in starts)
    enter = partial(store.index.put_file, key=key_of(digest), sums=sums, until=0, packed=len(frame))
    await store.environment.write(enter)


def _put_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def _wide(data: bytes) -> bytes:
    """Return a frame that needs a larger window than is allowed."""
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=False)
    encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return encoder.compress(data) + encoder.flush()


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "less": lambda data: _frame(data[:-1]),
    "half": lambda data: _frame(data[: len(data) // 2]),
    "nothing": lambda data: _frame(b""),
    "more": lambda data: _frame(data + b"!"),
    "much more": lambda data: _frame(data * 3),
    "no frame": lambda data: b"this is no zstd frame at all",
    "the blob itself": lambda data: data,
    "a frame cut short": lambda data: _frame(data)[:-200],
    "a checksum of something else": lambda data: (
        _frame(data, write_checksum=True)[:-4] + _frame(data + b"!", write_checksum=True)[-4:]
    ),
    "a window that is too large": _wide,
}


@pytest.mark.parametrize("size", [5000, MIB, 2 * MIB + 5])
@pytest.mark.parametrize("name", WRONG)
async def test_a_frame_of_something_else_is_never_taken_for_the_blob(
    tmp_path: Path, name: str, size: int
) -> None:
    data = prose(size)
    with opened(tmp_path, PACKING) as store:
        await _plant(store, named(data), WRONG[name](data))
        got, lost = await _read_until_lost(store.blobs.read(named(data)))
        assert data.startswith(got)
        assert len(got) < size
        assert isinstance(lost, BlobCorrupt) is bool(got)
        await _comes_back(store, data)


async def test_a_frame_that_came_meanwhile_is_not_taken_for_the_damaged_one(
    tmp_path: Path,
) -> None:
    data = prose(5000)
    with opened(tmp_path, PACKING) as store:
        digest = await put(store.blobs, data)
        with store.environment.read() as read:
            before = store.index.sums(read, key_of(digest))
        await store.environment.write(lambda write: store.index.drop(write, key_of(digest)))
        await _plant(store, digest, _frame(data) + b"\x50\x2a\x4d\x18\0\0\0\0")
        seen = identity_of(str(file_of(tmp_path, digest)))
        for sums in [before, b""]:
            await store.blobs._lost(digest, seen, "as a reader says who began before", sums)
            assert await store.blobs.find_missing([digest]) == set()
        assert quarantined(tmp_path) == []
