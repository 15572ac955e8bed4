"""Brings outputs into canonical form, before they are hashed for the first time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from determinism.formats import gzip

MAX_FILE_BYTES = 256 << 20  # larger files are left as they are: a format is held in memory
WINDOW_SECONDS = 2  # clocks of a file's writer and of the worker may differ by their grain


class Rewrite(Protocol):
    """A format's rewriting. See determinism.formats.gzip.rewrite."""

    def __call__(self, data: bytes, *, begun: float, ended: float) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Format:
    """name: as it is counted and logged. magic: what files of it start with."""

    name: str
    magic: bytes
    rewrite: Rewrite


FORMATS = (Format("gzip", gzip.MAGIC, gzip.rewrite),)
MAGIC_BYTES = max(len(format.magic) for format in FORMATS)

Canonicalise = Callable[[Path, float, float], str | None]


def canonicalise_file(path: Path, begun: float, ended: float) -> str | None:
    """Rewrite an output in place; return the format's name, or None if nothing was changed.

    path: a regular file. begun, ended: when the action ran, in seconds since 1970: only times
    that were written by it are touched, not those of files that it passed on.
    A file that does not wholly parse, or whose folder cannot be written to, is left as it is.
    """
    with path.open("rb") as file:
        head = file.read(MAGIC_BYTES)
        format = next((format for format in FORMATS if head.startswith(format.magic)), None)
        if format is None or os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            return None
        data = head + file.read()
    try:
        rewritten = format.rewrite(data, begun=begun - WINDOW_SECONDS, ended=ended + WINDOW_SECONDS)
    except ValueError:
        return None
    if rewritten == data:
        return None
    try:
        _replace(path, rewritten)
    except PermissionError:
        return None
    return format.name


def _replace(path: Path, data: bytes) -> None:
    """Put `data` into a file of the same mode, so that no hard link to the old one is changed."""
    mode = path.stat().st_mode & 0o7777
    # The folder is the action's: whatever it left there, a new file is made and nothing followed.
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".canonical-")
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(data)
            os.fchmod(file.fileno(), mode)
        Path(beside).replace(path)
    except OSError:
        Path(beside).unlink(missing_ok=True)
        raise
