"""SIGKILL at any moment: every blob that was acknowledged is there, and none is wrong."""

from __future__ import annotations

import os
import random
import selectors
import signal
import subprocess
import sys
from pathlib import Path

from cas.digest import Digest
from cas.disk_files import blob_path
from cas.disk_index import INLINE, PACKED, Record, digest_of, stored_bytes
from cas.disk_open import OpenStore
from cas.disk_orphans import remove_orphans
from cas.store import BlobNotFound
from tests.cas.disks import opened
from tests.cas.writing import LIMITS, LINE, blob

ROUNDS = int(os.environ.get("HOLDFAST_SOAK_ROUNDS", "10"))  # `make soak` sets 100
LOAD_SECONDS = 0.3  # the longest load before a kill


def _killed_under_load(folder: Path, number: int, chance: random.Random) -> list[tuple[int, int]]:
    """Run a writer, kill it some time after its first blob; return what it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cas.writing", folder, str(number)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        told = writer.stdout.read(LINE)
        with selectors.DefaultSelector() as selector:
            selector.register(writer.stdout, selectors.EVENT_READ)
            for _ in range(chance.randrange(1, 100)):
                if selector.select(LOAD_SECONDS):
                    told += os.read(writer.stdout.fileno(), LINE)
        writer.send_signal(signal.SIGKILL)
        told += writer.stdout.read()
    assert writer.returncode == -signal.SIGKILL
    acknowledged = []
    for line in told.decode().splitlines():
        seed, blob_number = line.split()
        acknowledged.append((int(seed), int(blob_number)))
    return acknowledged


async def test_every_acknowledged_blob_survives_sigkill(tmp_path: Path) -> None:
    chance = random.Random()
    acknowledged: list[tuple[int, int]] = []
    for number in range(ROUNDS):
        latest = _killed_under_load(tmp_path, number, chance)
        assert latest
        acknowledged += latest
        checked = latest + chance.sample(acknowledged, min(30, len(acknowledged)))
        with opened(tmp_path, LIMITS) as store:
            for seed, blob_number in checked:
                data = blob(seed, blob_number)
                try:
                    assert await store.blobs.read_all(Digest.of(data)) == data
                except BlobNotFound:
                    raise AssertionError((number, seed, blob_number)) from None
            assert store.blobs.counters.quarantined == 0
            await remove_orphans(store, pause_seconds=0)
            _agree(store, tmp_path / "blobs")


def _agree(store: OpenStore, folder: Path) -> None:
    """Fail unless each record of a file has one of its form and size, and each file a record."""
    blobs = store.environment.database("blobs")
    kept: dict[bytes, Record] = {}
    with store.environment.read() as read:
        for key in read.cursor(db=blobs).iternext(keys=True, values=False):
            record = store.index.get(read, key)
            assert record is not None
            kept[key] = record
    stored = sum(stored_bytes(key, record) for key, record in kept.items())
    assert store.room.totals() == (len(kept), stored)
    assert store.room.packed_totals().blobs == sum(map(_is_packed, kept.values()))
    files = {
        blob_path(folder, digest_of(key), packed=_is_packed(record)): stored_bytes(key, record)
        for key, record in kept.items()
        if record.kind != INLINE
    }
    assert {str(file): file.stat().st_size for file in folder.rglob("*") if file.is_file()} == files


def _is_packed(record: Record) -> bool:
    return record.kind == PACKED
