"""Zip files, as tools make them."""

from __future__ import annotations

import io
import os
import struct
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.determinism.made import INSIDE, run, written

TEXT = b"the quick brown fox jumps over the lazy dog\n" * 50
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def moment(seconds: int) -> tuple[int, int, int, int, int, int]:
    return time.gmtime(seconds)[:6]


class Stream(io.BytesIO):
    """What cannot be gone back in, so that descriptors are written."""

    def tell(self) -> int:
        raise OSError("not seekable")


def archive(
    members: Mapping[str, bytes] = {"a.txt": TEXT},
    *,
    seconds: int = INSIDE,
    extra: bytes = b"",
    method: int = zipfile.ZIP_DEFLATED,
    level: int | None = None,
    comment: bytes = b"",
    streamed: bool = False,
) -> bytes:
    made = Stream() if streamed else io.BytesIO()
    with zipfile.ZipFile(made, "w", method, compresslevel=level) as file:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name, moment(seconds))
            entry.compress_type, entry.extra = method, extra
            file.writestr(entry, data)
        file.comment = comment
    return made.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


def times(data: bytes) -> set[tuple[int, ...]]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {entry.date_time for entry in file.infolist()}


def ut(seconds: int) -> bytes:
    return struct.pack("<HHBi", 0x5455, 5, 1, seconds)


def by_zip(folder: Path, *options: str, seconds: int = INSIDE, stdin: bytes = b"") -> bytes:
    written(folder / "d/one.txt", TEXT)
    written(folder / "d/run", "#!/bin/sh\n", mode=0o755)
    for path in (folder / "d/one.txt", folder / "d/run", folder / "d"):
        os.utime(path, (seconds, seconds))
    (folder / "o.zip").unlink(missing_ok=True)
    target = [] if stdin else ["-r"]
    run(
        "zip",
        "-q",
        *options,
        *target,
        "o.zip",
        "-" if stdin else "d",
        cwd=folder,
        stdin=stdin,
        TZ="UTC",
    )
    return (folder / "o.zip").read_bytes()
