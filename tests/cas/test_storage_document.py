"""docs/storage.md is enough to read a store: this reader is written from it alone."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import lmdb
import pytest
import zstandard
from blake3 import blake3
from xxhash import xxh3_64_intdigest

from cas.digest import DigestFunction
from cas.disk_index import key_of
from cas.disk_room import DiskLimits
from tests.cas.disks import LIMITS, PACKING, Clock, opened
from tests.cas.splitting import Chunked
from tests.cas.stores import MIB, named, noise, prose, put
from tests.cas.test_sha256_tree import by_recursion

FUNCTIONS: dict[int, tuple[str, Callable[[bytes], str]]] = {
    1: ("sha256", lambda data: hashlib.sha256(data).hexdigest()),
    2: ("sha1", lambda data: hashlib.sha1(data).hexdigest()),
    3: ("md5", lambda data: hashlib.md5(data).hexdigest()),
    5: ("sha384", lambda data: hashlib.sha384(data).hexdigest()),
    6: ("sha512", lambda data: hashlib.sha512(data).hexdigest()),
    8: ("sha256tree", lambda data: by_recursion(data).hex()),
    9: ("blake3", lambda data: blake3(data).hexdigest()),
    10: ("gitsha1", lambda data: hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()),
}
SIZES = [1, 64, 65, MIB, 2 * MIB + 3]
FORMATS = {"holdfast store 1\n": {0, 1}, "holdfast store 2\n": {0, 1, 2}}  # and their kinds


class _Blob(NamedTuple):
    """A blob's record. stored: bytes."""

    key: bytes
    until: bytes
    kind: int
    stored: int

    @property
    def size(self) -> int:
        return int.from_bytes(self.key[-8:], "big")


def _record(key: bytes, value: bytes) -> _Blob:
    stored = value[5:] if value[4] == 2 else key[-8:]
    assert len(value) == (13 if value[4] == 2 else 5)
    return _Blob(key, value[:4], value[4], int.from_bytes(stored, "big"))


def _sum(data: bytes) -> bytes:
    return struct.pack(">Q", xxh3_64_intdigest(data))


def _read_all(folder: Path) -> dict[tuple[str, str], bytes]:
    """Return all blobs of a store, by function and hash; fail where the document is not kept."""
    assert not (folder / "boot").exists()
    with lmdb.open(str(folder / "index"), readonly=True, max_dbs=8) as index:
        named_here = ("blobs", "data", "sums", "due", "due_last", "totals")
        names = {name: index.open_db(name.encode()) for name in named_here}
        with index.begin() as read:
            kept = {name: dict(read.cursor(db=names[name])) for name in names}
    blobs = [_record(key, value) for key, value in kept["blobs"].items()]
    assert {blob.kind for blob in blobs} <= FORMATS[(folder / "format").read_text()]
    _check_totals(blobs, kept["totals"])
    due, due_last = kept["due"], kept["due_last"]
    assert not due.keys() & due_last.keys()
    assert due | due_last == {blob.until + blob.key: b"" for blob in blobs}
    assert kept["data"].keys() == {blob.key for blob in blobs if blob.kind == 0}
    assert kept["sums"].keys() == {blob.key for blob in blobs if blob.kind != 0}
    return {
        _named(blob.key): _read(
            folder, blob, kept["data"].get(blob.key), kept["sums"].get(blob.key)
        )
        for blob in blobs
    }


def _check_totals(blobs: list[_Blob], totals: dict[bytes, bytes]) -> None:
    packed = [blob for blob in blobs if blob.kind == 2]
    counted = struct.pack(">QQ", len(blobs), sum(blob.stored for blob in blobs))
    sizes = sum(blob.size for blob in packed), sum(blob.stored for blob in packed)
    assert totals[b"totals"] == counted
    assert totals.get(b"packed", bytes(24)) == struct.pack(">QQQ", len(packed), *sizes)


def _named(key: bytes) -> tuple[str, str]:
    return FUNCTIONS[key[0]][0], key[1:-8].hex()


def _read(folder: Path, kept: _Blob, inline: bytes | None, sums: bytes | None) -> bytes:
    (function, hash), hashed = _named(kept.key), FUNCTIONS[kept.key[0]][1]
    if inline is not None:
        checksums, stored = inline[:8], inline[8:]
    else:
        suffix = ".zst" if kept.kind == 2 else ""
        name = f"{function}-{hash}-{kept.size}{suffix}"
        path = folder / "blobs" / hash[:2] / hash[2:4] / name
        checksums, stored = sums or b"", path.read_bytes()
        assert path.stat().st_mode & 0o222 == 0
    assert len(stored) == kept.stored
    assert checksums == b"".join(_sum(stored[at : at + MIB]) for at in range(0, len(stored), MIB))
    blob = _unpacked(stored) if kept.kind == 2 else stored
    assert (hashed(blob), len(blob)) == (hash, kept.size)
    return blob


def _unpacked(frame: bytes) -> bytes:
    said = zstandard.get_frame_parameters(frame)
    assert (said.dict_id, said.has_checksum) == (0, True)
    assert said.window_size <= 8 * MIB
    decoder = zstandard.ZstdDecompressor(max_window_size=8 * MIB)
    return decoder.decompress(frame, allow_extra_data=False)


@pytest.mark.parametrize("limits", [LIMITS, PACKING], ids=["plain", "packed"])
async def test_a_reader_written_from_the_document_finds_every_blob(
    tmp_path: Path, limits: DiskLimits
) -> None:
    clock = Clock()
    blobs = {
        named(data, function): data
        for size in SIZES
        for data in (noise(size), prose(size, 1))
        for function in DigestFunction
    }
    with opened(tmp_path, limits, clock=clock) as store:
        assert await store.blobs.write_many(blobs) == {}
        clock.now += 60
        await store.blobs.find_missing(list(blobs)[::2])
    expected = {(digest.function.value, digest.hash): data for digest, data in blobs.items()}
    assert _read_all(tmp_path) == expected
    packed = len(list((tmp_path / "blobs").rglob("*.zst")))
    assert packed == (2 * len(DigestFunction) if limits is PACKING else 0)


async def test_the_document_holds_after_evictions_too(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, PACKING, clock=clock) as store:
        for seed in range(50):
            data = prose(500 + seed, seed) if seed % 3 else noise(50 + seed, seed)
            await store.blobs.write_all(data, named(data))
            clock.now += 600
        gone = await store.room.evict(5000)
    assert len(_read_all(tmp_path)) == 50 - gone.blobs
    assert gone.blobs > 10


async def test_the_document_holds_where_blobs_are_marked(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        for seed in range(50):
            data = noise(50 + seed, seed)
            await store.blobs.write_all(data, named(data))
            if seed % 2:
                key = key_of(named(data))
                await store.environment.write(partial(store.index.mark, key=key, by=b"a pin"))
            clock.now += 600
        gone = await store.room.evict(3000)
        await store.blobs.find_missing([named(noise(51, 1))])
    left = _read_all(tmp_path)
    assert len(left) == 50 - gone.blobs
    assert {named(noise(51 + at, 1 + at)).hash for at in range(0, 40, 2)} <= {
        hash for _, hash in left
    }


async def test_lists_of_chunks_are_as_the_document_says(tmp_path: Path) -> None:
    whole = noise(2 * MIB)
    parameters = {1: struct.pack(">II", 64 << 10, 0), 2: struct.pack(">QQ", 32 << 10, 256 << 10)}
    with opened(tmp_path) as store:
        blob = await put(store.blobs, whole)
        for function in parameters:
            await Chunked(store).splitter.split(blob, function)
    blobs = _read_all(tmp_path)
    key = b"\x01" + hashlib.sha256(whole).digest() + struct.pack(">Q", len(whole))
    with (
        lmdb.open(str(tmp_path / "index"), readonly=True, max_dbs=1) as index,
        index.begin(db=index.open_db(b"splits")) as read,
    ):
        lists = dict(read.cursor())
    assert lists.keys() == {key + bytes([each]) + parameters[each] for each in parameters}
    for kept in lists.values():
        chunks = [kept[at : at + len(key)] for at in range(0, len(kept), len(key))]
        assert len(chunks) > 8
        assert b"".join(blobs[_named(chunk)] for chunk in chunks) == whole
