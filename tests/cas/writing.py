"""A process that writes blobs into a store as fast as it can, and names those it has stored.

python -m tests.cas.writing FOLDER [SEED]
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from cas.disk_open import OpenStore, StoreUnusable, open_store
from cas.disk_room import DiskLimits
from tests.cas.stores import in_chunks, named, noise, prose

LIMITS = DiskLimits(
    1 << 30, inline_bytes=1000, lease_seconds=1, upload_lease_seconds=1, compression=True
)
WRITERS = 8
BATCH = 20
LINE = 32  # bytes of each report: one line, written at once


def sizes(seed: int) -> list[int]:
    """Return how large the blobs of a batch are: many inline ones, and files of up to 2 chunks."""
    chance = random.Random(seed)
    return [chance.choice([10, 500, 1000, 1001, 30_000, 2_000_000]) for _ in range(BATCH)]


def blob(seed: int, number: int) -> bytes:
    """Return a blob of a batch: every second one is worth compressing."""
    make = prose if number // 2 % 2 else noise
    return make(sizes(seed)[number], seed * BATCH + number)


async def _write(store: OpenStore, seeds: range) -> None:
    for seed in seeds:
        for number in range(BATCH):
            data = blob(seed, number)
            if number % 2:
                failed = await store.blobs.write_many({named(data): data})
                assert not failed
            else:
                await store.blobs.write(named(data), in_chunks(data, 300_000))
            os.write(sys.stdout.fileno(), f"{seed} {number}".ljust(LINE - 1).encode() + b"\n")


async def _main(folder: Path, seed: int) -> None:
    with open_store(folder, LIMITS, index_bytes=1 << 30) as store:
        async with asyncio.TaskGroup() as tasks:
            for writer in range(WRITERS):
                first = seed * 10_000 + writer * 1000
                tasks.create_task(_write(store, range(first, first + 1000)))
            tasks.create_task(store.room.keep(every_seconds=0.01))


if __name__ == "__main__":
    try:
        asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0))
    except StoreUnusable as error:
        sys.exit(str(error))
