"""docs/storage.md is enough to read a store: this reader is written from it alone."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmdb
from blake3 import blake3
from xxhash import xxh3_64_intdigest

from cas.digest import DigestFunction, Hasher
from cas.disk_index import key_of
from tests.cas.disks import LIMITS, Clock, opened
from tests.cas.splitting import Chunked
from tests.cas.stores import MIB, named, noise, put

FUNCTIONS: dict[int, tuple[str, Callable[[bytes], Hasher]]] = {
    1: ("sha256", hashlib.sha256),
    2: ("sha1", hashlib.sha1),
    9: ("blake3", blake3),
}
SIZES = [1, 64, 65, MIB, 2 * MIB + 3]


def _sum(data: bytes) -> bytes:
    return struct.pack(">Q", xxh3_64_intdigest(data))


def _read_all(folder: Path) -> dict[tuple[str, str], bytes]:
    """Return all blobs of a store, by function and hash; fail where the document is not kept."""
    assert (folder / "format").read_text() == "holdfast store 1\n"
    assert not (folder / "boot").exists()
    with lmdb.open(str(folder / "index"), readonly=True, max_dbs=8) as index:
        named_here = ("blobs", "data", "sums", "due", "due_last")
        names = {name: index.open_db(name.encode()) for name in named_here}
        totals = index.open_db(b"totals")
        with index.begin() as read:
            blobs = dict(read.cursor(db=names["blobs"]))
            data = dict(read.cursor(db=names["data"]))
            sums = dict(read.cursor(db=names["sums"]))
            due = dict(read.cursor(db=names["due"]))
            due_last = dict(read.cursor(db=names["due_last"]))
            counted = struct.unpack(">QQ", read.get(b"totals", b"", db=totals))
    assert counted == (len(blobs), sum(int.from_bytes(key[-8:], "big") for key in blobs))
    assert not due.keys() & due_last.keys()
    assert due | due_last == {value[:4] + key: b"" for key, value in blobs.items()}
    assert data.keys() == {key for key, value in blobs.items() if value[4] == 0}
    assert sums.keys() == {key for key, value in blobs.items() if value[4] == 1}
    return {_named(key): _read(folder, key, data.get(key), sums.get(key)) for key in blobs}


def _named(key: bytes) -> tuple[str, str]:
    return FUNCTIONS[key[0]][0], key[1:-8].hex()


def _read(folder: Path, key: bytes, inline: bytes | None, sums: bytes | None) -> bytes:
    (function, hash), hasher = _named(key), FUNCTIONS[key[0]][1]
    size = int.from_bytes(key[-8:], "big")
    if inline is not None:
        checksums, blob = inline[:8], inline[8:]
    else:
        path = folder / "blobs" / hash[:2] / hash[2:4] / f"{function}-{hash}-{size}"
        checksums, blob = sums or b"", path.read_bytes()
        assert path.stat().st_mode & 0o222 == 0
    assert checksums == b"".join(_sum(blob[at : at + MIB]) for at in range(0, size, MIB))
    assert (hasher(blob).hexdigest(), len(blob)) == (hash, size)
    return blob


async def test_a_reader_written_from_the_document_finds_every_blob(tmp_path: Path) -> None:
    clock = Clock()
    blobs = {
        named(data, function): data
        for data in (noise(size) for size in SIZES)
        for function in DigestFunction
    }
    with opened(tmp_path, LIMITS, clock=clock) as store:
        assert await store.blobs.write_many(blobs) == {}
        clock.now += 60
        await store.blobs.find_missing(list(blobs)[::2])
    expected = {(digest.function.value, digest.hash): data for digest, data in blobs.items()}
    assert _read_all(tmp_path) == expected


async def test_the_document_holds_after_evictions_too(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, LIMITS, clock=clock) as store:
        for seed in range(50):
            data = noise(50 + seed, seed)
            await store.blobs.write_all(data, named(data))
            clock.now += 600
        gone = await store.room.evict(1000)
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
