"""Every store that keeps the contract of BlobStore, and blobs to try them with."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from cas.digest import Digest, DigestFunction
from cas.disk_open import open_store
from cas.disk_room import DiskLimits
from cas.memory import MemoryStore
from cas.prefetched import prefetched
from cas.store import BlobStore
from tests.re_client.remote import remote

INDEX_BYTES = 1 << 30
STORE_BYTES = 1 << 30
MIB = 1 << 20

Make = Callable[[Path], AbstractAsyncContextManager[BlobStore]]


@asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[BlobStore]:
    yield MemoryStore()


@asynccontextmanager
async def disk(folder: Path) -> AsyncIterator[BlobStore]:
    with open_store(folder, DiskLimits(STORE_BYTES), index_bytes=INDEX_BYTES) as opened:
        yield opened.blobs


@asynccontextmanager
async def disk_durable(folder: Path) -> AsyncIterator[BlobStore]:
    limits = DiskLimits(STORE_BYTES, durable=True)
    with open_store(folder, limits, index_bytes=INDEX_BYTES) as opened:
        yield opened.blobs


@asynccontextmanager
async def disk_all_in_files(folder: Path) -> AsyncIterator[BlobStore]:
    limits = DiskLimits(STORE_BYTES, inline_bytes=0)
    with open_store(folder, limits, index_bytes=INDEX_BYTES) as opened:
        yield opened.blobs


@asynccontextmanager
async def disk_mixed(folder: Path) -> AsyncIterator[BlobStore]:
    """Keep tiny blobs inline, and those of a few more bytes in files."""
    limits = DiskLimits(STORE_BYTES, inline_bytes=8)
    with open_store(folder, limits, index_bytes=INDEX_BYTES) as opened:
        yield opened.blobs


@asynccontextmanager
async def disk_packed(folder: Path) -> AsyncIterator[BlobStore]:
    """Keep all blobs but tiny ones as frames, also those that do not compress."""
    limits = DiskLimits(STORE_BYTES, inline_bytes=4, compression=True, compression_saves=-1)
    with open_store(folder, limits, index_bytes=INDEX_BYTES) as opened:
        yield opened.blobs


@asynccontextmanager
async def disk_packed_at_times(folder: Path) -> AsyncIterator[BlobStore]:
    """Keep blobs as frames in every second opening, and at first."""
    turn = folder / "turn"
    turns = len(turn.read_bytes()) if turn.exists() else 0
    limits = DiskLimits(
        STORE_BYTES, inline_bytes=8, compression=turns % 2 == 0, compression_saves=-1
    )
    with open_store(folder, limits, index_bytes=INDEX_BYTES) as opened:
        turn.write_bytes(bytes(turns + 1))
        yield opened.blobs


@asynccontextmanager
async def in_front_of_disk(folder: Path) -> AsyncIterator[BlobStore]:
    async with disk(folder) as inner:
        ahead = [noise(size, seed=99) for size in (5, 3 * MIB)]
        for data in ahead:
            await inner.write_all(data, named(data))
        yield await prefetched(inner, [named(data) for data in ahead])


KEPT: list[Make] = [disk, disk_durable, disk_all_in_files, disk_mixed, disk_packed,
                    disk_packed_at_times]  # fmt: skip  # can be opened again
STORES: list[Make] = [memory, remote, in_front_of_disk, *KEPT]


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that look like nothing else of another seed."""
    return random.Random(seed).randbytes(size)


def prose(size: int, seed: int = 0) -> bytes:
    """Return bytes that compress to something over half, and are nothing else of another seed."""
    return noise((size + 1) // 2, seed).hex().encode()[:size]


def named(data: bytes, function: DigestFunction = DigestFunction.SHA256) -> Digest:
    return Digest.of(data, function)


async def in_chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def put(store: BlobStore, data: bytes) -> Digest:
    """Store `data` and return its name."""
    await store.write_all(data, digest := Digest.of(data))
    return digest
