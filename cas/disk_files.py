"""Blobs as files: where they lie, and the checksums that are kept beside them."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from xxhash import xxh3_64_digest

from cas.digest import Digest, DigestFunction, Hasher
from cas.store import Chunk

CHUNK_BYTES = 1 << 20  # what one checksum covers, and one read returns
CHECKSUM_BYTES = 8
FILE_MODE = 0o444
QUARANTINED_FILES = 64  # what is kept of files whose bytes were wrong, for people to look at
# What an error of a file says of its blob: it is lost. Others (too many open files, no memory, no
# permission) say nothing of the blob.
LOST = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EIO})

Identity = tuple[int, int] | None  # inode and size of a file, None where there is none


def blob_path(folder: Path, digest: Digest) -> str:
    """Return where `digest` lies: two levels of 256 folders, by the start of its hash."""
    hash = digest.hash
    return f"{folder}/{hash[:2]}/{hash[2:4]}/{digest.function}-{hash}-{digest.size}"


def digest_of_path(name: str) -> Digest:
    """Return the digest that a file's name says; raise ValueError if it says none."""
    function, hash, size = name.split("-")
    return Digest.parse(hash, int(size), DigestFunction(function))


def is_loss(error: OSError | ValueError) -> bool:
    """Tell whether what `read_checked` raised means that the blob is lost."""
    return not isinstance(error, OSError) or error.errno in LOST


def identity_of(path: str) -> Identity:
    """Return what tells one file at `path` from another; raise OSError if nobody can say."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of Path
    except OSError as error:
        if not is_loss(error):
            raise
        return None
    return found.st_ino, found.st_size


def place(source: Path, target: Path, *, durable: bool) -> None:
    """Move a finished file to `target`, below folders that are made if need be.

    durable: its name, too, is on the disk when this returns.
    """
    changed = [target.parent]
    try:
        source.rename(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        changed += [target.parents[1], target.parents[2]]
    if durable:
        for folder in changed:
            sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def quarantine(path: Path, folder: Path) -> None:
    """Set a file aside in `folder`, or remove it if enough lie there."""
    if len(list(folder.iterdir())) < QUARANTINED_FILES:
        path.rename(folder / f"{path.name}.{uuid4().hex[:8]}")
    else:
        path.unlink()


class Incoming:
    """A blob on its way into a file: written, hashed and summed chunk by chunk.

    To be used from one thread at a time.
    """

    def __init__(self, path: Path, function: DigestFunction) -> None:
        self.path = path
        self.size = 0
        self.sums = bytearray()
        self._hasher: Hasher = function.hasher()
        self._function = function
        self._chunk = bytearray()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        os.fchmod(self._file, FILE_MODE)  # whatever the umask: another user's actions may read it

    def add(self, data: Chunk) -> None:
        """Append `data`; raise OSError if the disk is full."""
        view = memoryview(data)
        self._hasher.update(view)
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

    def add_all(self, parts: list[Chunk]) -> None:
        for data in parts:
            self.add(data)

    def finish(self, *, durable: bool) -> Digest:
        """Write what is left, close the file and return what its bytes are."""
        if self._chunk:
            self._put(self._chunk)
            self._chunk = bytearray()
        if durable:
            os.fsync(self._file)
        os.close(self._file)
        self._file = -1
        return Digest(self._hasher.hexdigest(), self.size, self._function)

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


def read_checked(path: str, size: int, sums: bytes, offset: int) -> Generator[bytes]:
    """Yield a file's bytes from `offset` on, each chunk compared with its checksum.

    path: a file of `size` bytes. sums: 8 bytes for each chunk of CHUNK_BYTES.
    Raises OSError if the file cannot be read, ValueError where its bytes are not those that were
    written, or too few or too many.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(file).st_size != size:
            raise ValueError(f"{path} has {os.fstat(file).st_size} bytes, not {size}")
        for number in range(offset // CHUNK_BYTES, -(-size // CHUNK_BYTES)):
            start = number * CHUNK_BYTES
            chunk = os.pread(file, CHUNK_BYTES, start)
            at = number * CHECKSUM_BYTES
            if xxh3_64_digest(chunk) != sums[at : at + CHECKSUM_BYTES]:
                raise ValueError(f"{path}: bytes {start} to {start + len(chunk)} have changed")
            yield chunk[offset - start :] if offset > start else chunk
    finally:
        os.close(file)
