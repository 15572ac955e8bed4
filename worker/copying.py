"""Copies of files: by sharing their blocks where the file system can, else of their bytes."""

from __future__ import annotations

import errno
import fcntl
import os

CHUNK_BYTES = 256 * 1024
FICLONE = 0x40049409  # source: linux/fs.h
# What a file system answers that does not share blocks, or not between these two files.
UNSHARED = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS}


def copy(source: str, target: str, *, mode: int, modified_ns: int) -> None:
    """Make `target`, which is not there, a copy of `source` with `mode` and a time of its own."""
    read = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            if not _shared(read, made):
                while data := os.read(read, CHUNK_BYTES):
                    _write_all(made, data)
            os.fchmod(made, mode)  # whatever the umask
            os.utime(made, ns=(modified_ns, modified_ns))
        finally:
            os.close(made)
    finally:
        os.close(read)


def _write_all(target: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(target, rest) :]


def _shared(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in UNSHARED:
            raise
        return False
    return True
