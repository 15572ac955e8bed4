"""How long a server with a million blobs takes to start, and what memory that takes."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median

from benchmarks import servers
from benchmarks.table import Table
from cas.digest import Digest
from cas.disk_open import OpenStore, open_store
from cas.disk_room import DiskLimits
from re_config.schema import Disk

MILLION = 1_000_000
BLOB_BYTES = 100
FILES = 1000  # of the blobs are as long as to be in a file each
FILE_BYTES = 20_000
WRITTEN_AT_ONCE = 20_000


def run(folder: Path, *, blobs: int = MILLION, rounds: int = 3) -> list[Table]:
    """Measure. folder: for the stores; it can be removed after. blobs: at least FILES."""
    table = Table(
        "Start of the server",
        f"With {blobs:,} blobs in the store (of {BLOB_BYTES} bytes, and {FILES:,} of "
        f"{FILE_BYTES:,}), beside a new store: opening the store alone; the whole server, from the "
        "start of its process to the first call that it takes; and its resident memory then. The "
        "bars are 1 second and 100 MB. Rounds take turns; medians.",
        ["store, seconds", "server, seconds", "server, MB"],
    )
    full, new = folder / "full", folder / "new"
    asyncio.run(fill(full / "store", blobs))
    asyncio.run(fill(new / "store", 0))
    starts: dict[Path, list[tuple[float, float, float]]] = {new: [], full: []}
    for _ in range(rounds):
        for place, measured in starts.items():
            measured.append((opening_seconds(place / "store"), *served(place)))
    for name, place in (("new store", new), (f"{blobs:,} blobs", full)):
        table.rows[name] = [median(figures) for figures in zip(*starts[place], strict=True)]
    return [table]


def served(place: Path) -> tuple[float, float]:
    """Start a server on the store; return its seconds to the first call, and its MB."""
    with servers.holdfast(place, "worker.enabled = false") as server:
        return server.start_seconds, server.resident_bytes() / 1e6


def opening_seconds(store: Path) -> float:
    begin = time.monotonic()
    with _opened(store):
        return time.monotonic() - begin


def _opened(store: Path) -> AbstractContextManager[OpenStore]:
    config = Disk()
    limits = DiskLimits(max_bytes=config.max_bytes)
    return open_store(store, limits, index_bytes=config.index_bytes)


async def fill(store: Path, blobs: int) -> None:
    """Write `blobs` different blobs, through the store's own code."""
    with _opened(store) as opened:
        for begin in range(0, blobs, WRITTEN_AT_ONCE):
            end = min(blobs, begin + WRITTEN_AT_ONCE)
            made = [_blob(number) for number in range(begin, end)]
            failed = await opened.blobs.write_many({Digest.of(data): data for data in made})
            if failed:
                raise next(iter(failed.values()))


def _blob(number: int) -> bytes:
    size = FILE_BYTES if number < FILES else BLOB_BYTES
    return number.to_bytes(8, "big") + os.urandom(size - 8)
