"""Changes that move files of blobs, in the writer's thread beside the records that go with them.

Evictions unlink in that thread too, so that none can take a new file for an old one.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from cas.digest import Digest
from cas.disk_files import Identity, blob_path, identity_of, place, quarantine
from cas.disk_incoming import Incoming
from cas.disk_index import INLINE, PACKED, DiskIndex, Record, key_of, stored_bytes
from cas.environment import Read


class Placing:
    """Brings files to their places and takes them away. folder: of the store."""

    def __init__(self, folder: Path, index: DiskIndex, *, durable: bool) -> None:
        self._blobs = folder / "blobs"
        self._quarantine = folder / "quarantine"
        self._index = index
        self._durable = durable

    def adopt(self, write: Read, digest: Digest, incoming: Incoming, until: int) -> None:
        """Move a finished file to its place and enter it, unless the blob is there already."""
        key = key_of(digest)
        record = self._index.get(write, key)
        if record is not None and self._is_whole(digest, record):
            self._index.lease(write, key, until)
            return
        packed = incoming.packed > 0
        path = blob_path(self._blobs, digest, packed=packed)
        if incoming.path.exists():
            place(incoming.path, Path(path), durable=self._durable)
        elif identity_of(path) != incoming.identity:  # else a first attempt has moved it
            raise FileNotFoundError(errno.ENOENT, "the upload was given up", str(incoming.path))
        with suppress(FileNotFoundError):  # what a blob that is no longer whole left
            Path(blob_path(self._blobs, digest, packed=not packed)).unlink()
        if record is not None:
            self._index.drop(write, key)
        self._index.put_file(write, key, incoming.sums, until, packed=incoming.packed)

    def set_aside(self, write: Read, digest: Digest, seen: Identity, sums: bytes) -> bool:
        """Drop a blob whose bytes are wrong, unless it was brought back since; return whether.

        seen: its file. sums: what that was compared with, nothing where its size was enough.
        """
        record = self._index.get(write, key := key_of(digest))
        if record is None:
            return False
        if record.kind == INLINE:
            if self._index.data(write, key) is not None:
                return False
        elif identity_of(path := self._path(digest, record)) != seen:
            return False
        elif seen is not None:
            # Another frame of the same blob may have come to the same place.
            if seen[1] == stored_bytes(key, record) and sums != self._index.sums(write, key):
                return False
            quarantine(Path(path), self._quarantine)
        return self._index.drop(write, key) is not None

    def _is_whole(self, digest: Digest, record: Record) -> bool:
        """Tell whether a blob has its file, as far as its size says."""
        if record.kind == INLINE:
            return False
        seen = identity_of(self._path(digest, record))
        return seen is not None and seen[1] == stored_bytes(key_of(digest), record)

    def _path(self, digest: Digest, record: Record) -> str:
        return blob_path(self._blobs, digest, packed=record.kind == PACKED)
