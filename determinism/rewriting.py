"""Files read without being followed or copied, and rewritten where they lie."""

from __future__ import annotations

import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from determinism.format import HEAD_BYTES, TAIL_BYTES, Data, Edit

READ_BYTES = 1 << 20  # up to this size a file is read; larger ones are mapped
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_WRITING = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Ends(NamedTuple):
    """The first bytes of a file, the last, and how many there are in all."""

    head: bytes
    tail: bytes
    size: int


def read_ends(path: Path) -> Ends:
    """Return what a file is recognised by. One that is no regular file is empty."""
    descriptor = os.open(path, _READING)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return Ends(b"", b"", 0)
        head = os.pread(descriptor, HEAD_BYTES, 0)
        if found.st_size <= len(head):
            return Ends(head, head[-TAIL_BYTES:], len(head))
        tail = os.pread(descriptor, TAIL_BYTES, found.st_size - TAIL_BYTES)
        return Ends(head, tail, found.st_size)
    finally:
        os.close(descriptor)


@contextmanager
def opened(path: Path) -> Iterator[Data]:
    """Give the bytes of a regular file; what is written to a mapping stays with this process."""
    descriptor = os.open(path, _READING)
    try:
        size = os.fstat(descriptor).st_size
        if size <= READ_BYTES:
            yield os.pread(descriptor, size, 0)
            return
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY) as mapping:
            yield mapping
    finally:
        os.close(descriptor)


def edit_file(path: Path, edits: Sequence[Edit]) -> None:
    """Make edits of equal length, one after another, in place where no other link sees it.

    A file that has other links, or may not be written to, is replaced by an edited copy. Raises
    PermissionError if that may not be done either; then the file is as it was.
    """
    try:
        descriptor = os.open(path, _WRITING)
    except PermissionError:
        _edit_copy(path, edits)
        return
    try:
        found = os.fstat(descriptor)
        if found.st_nlink != 1:
            _edit_copy(path, edits)
            return
        _write_edits(descriptor, edits)
        # The kernel takes the right to run as its owner from a file that is written to.
        if os.fstat(descriptor).st_mode != found.st_mode:
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
    finally:
        os.close(descriptor)


def _edit_copy(path: Path, edits: Sequence[Edit]) -> None:
    def fill(descriptor: int) -> None:
        with path.open("rb") as old, open(descriptor, "wb", closefd=False) as new:
            shutil.copyfileobj(old, new, 1 << 20)
        _write_edits(descriptor, edits)

    _replace(path, fill)


def _write_edits(descriptor: int, edits: Sequence[Edit]) -> None:
    for start, _, new in edits:
        view = memoryview(new)
        while view:
            written = os.pwrite(descriptor, view, start)
            start, view = start + written, view[written:]  # noqa: PLW2901  the rest of it


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` into a file of the same mode, so that no hard link to the old one is changed."""
    _replace(path, lambda descriptor: _write_edits(descriptor, [Edit(0, 0, data)]))


def _replace(path: Path, fill: Callable[[int], None]) -> None:
    mode = stat.S_IMODE(path.stat(follow_symlinks=False).st_mode)
    # The folder is the action's: whatever it left there, a new file is made and nothing followed.
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".canonical-")
    try:
        try:
            fill(descriptor)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        Path(beside).replace(path)
    except OSError:
        Path(beside).unlink(missing_ok=True)
        raise
