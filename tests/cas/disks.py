"""Disk stores whose time and limits a test sets, and ways to damage them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import lmdb

from cas.digest import Digest
from cas.disk_files import blob_path
from cas.disk_index import key_of
from cas.disk_open import OpenStore, open_store
from cas.disk_room import DiskLimits

HOUR = 3600.0
INDEX_BYTES = 1 << 28
LIMITS = DiskLimits(1 << 30, inline_bytes=64)
PACKING = replace(LIMITS, compression=True)


@dataclass
class Clock:
    """Time that stands still until a test moves it; seconds since 1970."""

    now: float = 1_800_000_000

    def __call__(self) -> float:
        return self.now


@contextmanager
def opened(
    folder: Path,
    limits: DiskLimits = LIMITS,
    *,
    clock: Clock | None = None,
    index_bytes: int = INDEX_BYTES,
) -> Iterator[OpenStore]:
    with open_store(folder, limits, index_bytes=index_bytes, clock=clock or Clock()) as store:
        yield store


def file_of(folder: Path, digest: Digest) -> Path:
    """Return where the store in `folder` keeps a blob that has a file, packed or not."""
    packed = Path(blob_path(folder / "blobs", digest, packed=True))
    return packed if packed.exists() else Path(blob_path(folder / "blobs", digest))


def flip(path: Path, at: int) -> None:
    """Turn over one bit of a file, as a bad disk does."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    path.chmod(0o444)


def truncate(path: Path, size: int) -> None:
    path.chmod(0o644)
    os.truncate(path, size)
    path.chmod(0o444)


def flip_inline(store: OpenStore, digest: Digest, at: int) -> None:
    """Turn over one bit of an inline blob; at: from the start of its value, checksum included."""
    data = store.environment.database("data")

    def change(write: lmdb.Transaction[bytes]) -> None:
        value = bytearray(write.get(key_of(digest), b"", db=data))
        value[at] ^= 1
        write.put(key_of(digest), bytes(value), db=data)

    store.environment.write_now(change)


def quarantined(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in (folder / "quarantine").iterdir()]
