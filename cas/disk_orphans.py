"""Blob files that no record names: what a crash leaves between a file's move and its commit."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cas.digest import Digest
from cas.disk_files import blob_path, identity_of, parse_name
from cas.disk_index import FILE, PACKED, DiskIndex, key_of
from cas.disk_open import UNSWEPT, OpenStore
from cas.environment import Read

log = logging.getLogger(__name__)

STEP_FILES = 256  # most files that are looked at in one step
PAUSE_SECONDS = 0.005  # between steps: the 65,536 folders of a large store take some six minutes


@dataclass(slots=True)
class Removed:
    """What went. bytes: of the files."""

    files: int = 0
    bytes: int = 0


class _Orphan(NamedTuple):
    """A file that looks like one, named as `kind` is. inode: which file was looked at."""

    digest: Digest
    kind: int
    path: str
    inode: int


async def remove_orphans(store: OpenStore, *, pause_seconds: float = PAUSE_SECONDS) -> Removed:
    """Walk the blob files after an unclean end, and remove those that the index does not know.

    To be run in the background of an open store; ends when the walk is done. One that is cut short
    begins anew after the next opening. Files that are named as no blob is are left alone. Raises
    StoreFull or OSError where a file cannot be removed.

    Files made since the opening are left alone too: they may be about to be entered. That, and
    the check beside the removal, are in the writer's thread, where uploads move files.
    """
    removed = Removed()
    marker = store.folder / UNSWEPT
    if not marker.exists():
        return removed
    opened_ns = (store.folder / "boot").stat().st_mtime_ns
    steps = _suspects(store, opened_ns)
    while (suspects := await asyncio.to_thread(next, steps, None)) is not None:
        if suspects:
            gone = await store.environment.write(_Removal(store.index, suspects))
            removed.files += len(gone)
            removed.bytes += sum(gone)
        await asyncio.sleep(pause_seconds)
    marker.unlink(missing_ok=True)
    if removed.files:
        log.info("removed %d files that no blob has, %d bytes", removed.files, removed.bytes)
    return removed


class _Removal:
    """The change that removes `suspects`: those that are still what they looked like.

    Returns how many bytes each file had.
    """

    def __init__(self, index: DiskIndex, suspects: list[_Orphan]) -> None:
        self._index = index
        self._suspects = suspects

    def __call__(self, write: Read) -> list[int]:
        gone: list[int] = []
        for orphan in self._suspects:
            seen = identity_of(orphan.path)
            if _unknown(self._index, write, orphan) and seen and seen[0] == orphan.inode:
                Path(orphan.path).unlink()
                gone.append(seen[1])
        return gone


def _suspects(store: OpenStore, opened_ns: int) -> Iterator[list[_Orphan]]:
    """Yield, a step at a time, the files that are no blob's and older than `opened_ns`."""
    blobs = store.folder / "blobs"
    for first in _folders(blobs):
        for folder in _folders(first):
            with os.scandir(folder) as entries:
                while step := list(islice(entries, STEP_FILES)):
                    with store.environment.read() as read:
                        suspects = [
                            orphan
                            for entry in step
                            if (orphan := _orphan(blobs, entry))
                            and _unknown(store.index, read, orphan)
                            and entry.stat().st_mtime_ns < opened_ns
                        ]
                    yield suspects


def _folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`: at most 256 where nobody has meddled."""
    return sorted(Path(entry) for entry in os.scandir(folder) if entry.is_dir())


def _orphan(blobs: Path, entry: os.DirEntry[str]) -> _Orphan | None:
    try:
        digest, packed = parse_name(entry.name)
    except ValueError:
        return None
    path = blob_path(blobs, digest, packed=packed)
    if path != entry.path or not entry.is_file(follow_symlinks=False):
        return None
    return _Orphan(digest, PACKED if packed else FILE, entry.path, entry.inode())


def _unknown(index: DiskIndex, read: Read, orphan: _Orphan) -> bool:
    """Tell whether a file is no blob's: of a packed one, neither is the plain form."""
    record = index.get(read, key_of(orphan.digest))
    return record is None or record.kind != orphan.kind
