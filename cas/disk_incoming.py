"""Blobs on their way into files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from xxhash import xxh3_64_digest

from cas.digest import Digest, Hasher
from cas.disk_files import CHUNK_BYTES, Identity
from cas.packing import Packer
from cas.store import Chunk

FILE_MODE = 0o444


class Incoming:
    """A blob on its way into a file: hashed, packed where that pays, summed and written.

    digest: what the blob should be. packer: None to keep it as it comes.
    size: bytes of the blob so far. identity: of the file, once it is finished.
    To be used from one thread at a time.
    """

    def __init__(self, path: Path, digest: Digest, packer: Packer | None) -> None:
        self.size = 0
        self.identity: Identity = None
        self._digest = digest
        self._packer = packer
        self._hasher: Hasher = digest.function.hasher(digest.size)
        self._file = _SummedFile(path)

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def sums(self) -> bytes:
        """One checksum for each chunk of the file."""
        return bytes(self._file.sums)

    @property
    def packed(self) -> int:
        """Bytes of the file where it is a frame; 0 where it is the blob as it came."""
        return self._file.size if self._packer and self._packer.packed else 0

    def add_all(self, parts: list[Chunk]) -> None:
        """Append `parts`, no more in all than the digest has; raise OSError if the disk is full."""
        for data in parts:
            self._hasher.update(data)
            self.size += len(data)
            self._file.add(self._packer.add(data) if self._packer else data)

    def finish(self, *, durable: bool) -> Digest:
        """Write what is left, close the file and return what the bytes were."""
        if self._packer:
            self._file.add(self._packer.end(complete=self.size == self._digest.size))
        self.identity = self._file.finish(durable=durable)
        return self._digest.found(self._hasher, self.size)

    def discard(self) -> None:
        """Close and remove the file, if it is still there."""
        self._file.discard()


class _SummedFile:
    """A file that is written to its end once, with a checksum of each chunk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.sums = bytearray()
        self._chunk = bytearray()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        os.fchmod(self._file, FILE_MODE)  # whatever the umask: another user's actions may read it

    def add(self, data: Chunk) -> None:
        """Append `data`; raise OSError if the disk is full."""
        view = memoryview(data)
        self.size += len(view)
        while view:
            if not self._chunk and len(view) >= CHUNK_BYTES:
                self._put(view[:CHUNK_BYTES])
                view = view[CHUNK_BYTES:]
                continue
            taken = view[: CHUNK_BYTES - len(self._chunk)]
            self._chunk += taken
            view = view[len(taken) :]
            if len(self._chunk) == CHUNK_BYTES:
                self._put(self._chunk)
                self._chunk = bytearray()

    def finish(self, *, durable: bool) -> Identity:
        """Write what is left and close the file."""
        if self._chunk:
            self._put(self._chunk)
            self._chunk = bytearray()
        if durable:
            os.fsync(self._file)
        inode = os.fstat(self._file).st_ino
        os.close(self._file)
        self._file = -1
        return inode, self.size

    def discard(self) -> None:
        """Close and remove the file, if it is still there."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        with suppress(FileNotFoundError):
            self.path.unlink()

    def _put(self, chunk: bytes | bytearray | memoryview) -> None:
        self.sums += xxh3_64_digest(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._file, view) :]
