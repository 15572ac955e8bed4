"""Blobs as files: where they lie, and the checksums that are kept beside them."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from xxhash import xxh3_64_digest

from cas.digest import Digest, DigestFunction

CHUNK_BYTES = 1 << 20  # what one checksum covers, and one read returns
CHECKSUM_BYTES = 8
PACKED_SUFFIX = ".zst"  # what zstd itself calls such files
QUARANTINED_FILES = 64  # what is kept of files whose bytes were wrong, for people to look at
# What an error of a file says of its blob: it is lost. Others (too many open files, no memory, no
# permission) say nothing of the blob.
LOST = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EIO})

Identity = tuple[int, int] | None  # inode and size of a file, None where there is none


class Filed(NamedTuple):
    """What the index says of a blob in a file.

    packed: bytes of the file where it is a frame, else 0. sums: 8 bytes for each chunk of the file.
    """

    digest: Digest
    packed: int
    sums: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.packed or self.digest.size

    def path(self, folder: Path) -> str:
        return blob_path(folder, self.digest, packed=self.packed > 0)


def blob_path(folder: Path, digest: Digest, *, packed: bool = False) -> str:
    """Return where `digest` lies: two levels of 256 folders, by the start of its hash.

    packed: as a frame. A blob's two forms have two names, so that neither is taken for the other.
    """
    hash = digest.hash
    suffix = PACKED_SUFFIX if packed else ""
    return f"{folder}/{hash[:2]}/{hash[2:4]}/{digest.function}-{hash}-{digest.size}{suffix}"


def parse_name(name: str) -> tuple[Digest, bool]:
    """Return the digest that a file's name says, and whether it is packed.

    Raises ValueError if it says none.
    """
    function, hash, size = name.removesuffix(PACKED_SUFFIX).split("-")
    packed = name.endswith(PACKED_SUFFIX)
    return Digest.parse(hash, int(size), DigestFunction(function)), packed


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


def read_checked(folder: Path, kept: Filed, offset: int = 0) -> Generator[bytes]:
    """Yield a file's bytes from `offset` on, each chunk compared with its checksum.

    Raises OSError if the file cannot be read, ValueError where its bytes are not those that were
    written, or too few or too many.
    """
    path, size = kept.path(folder), kept.size
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(file).st_size != size:
            raise ValueError(f"{path} has {os.fstat(file).st_size} bytes, not {size}")
        for number in range(offset // CHUNK_BYTES, -(-size // CHUNK_BYTES)):
            start = number * CHUNK_BYTES
            chunk = os.pread(file, CHUNK_BYTES, start)
            at = number * CHECKSUM_BYTES
            if xxh3_64_digest(chunk) != kept.sums[at : at + CHECKSUM_BYTES]:
                raise ValueError(f"{path}: bytes {start} to {start + len(chunk)} have changed")
            yield chunk[offset - start :] if offset > start else chunk
    finally:
        os.close(file)
