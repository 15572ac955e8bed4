"""docs/storage.md is enough to read a store: this reader is written from it alone."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
from blake3 import blake3
from xxhash import xxh3_64_intdigest

from cas.digest import DigestFunction, Hasher
from tests.cas.disks import LIMITS, Clock, opened
from tests.cas.stores import MIB, named, noise

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
        names = {name: index.open_db(name.encode()) for name in ("blobs", "data", "sums", "due")}
        totals = index.open_db(b"totals")
        with index.begin() as read:
            blobs = dict(read.cursor(db=names["blobs"]))
            data = dict(read.cursor(db=names["data"]))
            sums = dict(read.cursor(db=names["sums"]))
            due = dict(read.cursor(db=names["due"]))
            counted = struct.unpack(">QQ", read.get(b"totals", b"", db=totals))
    assert counted == (len(blobs), sum(int.from_bytes(key[-8:], "big") for key in blobs))
    assert due == {value[:4] + key: b"" for key, value in blobs.items()}
    assert data.keys() == {key for key, value in blobs.items() if value[4] == 0}
    assert sums.keys() == {key for key, value in blobs.items() if value[4] == 1}
    found: dict[tuple[str, str], bytes] = {}
    for key in blobs:
        function, hasher = FUNCTIONS[key[0]]
        hash, size = key[1:-8].hex(), int.from_bytes(key[-8:], "big")
        if key in data:
            checksums, blob = data[key][:8], data[key][8:]
        else:
            path = folder / "blobs" / hash[:2] / hash[2:4] / f"{function}-{hash}-{size}"
            checksums, blob = sums[key], path.read_bytes()
            assert path.stat().st_mode & 0o222 == 0
        assert checksums == b"".join(_sum(blob[at : at + MIB]) for at in range(0, size, MIB))
        assert (hasher(blob).hexdigest(), len(blob)) == (hash, size)
        found[function, hash] = blob
    return found


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
