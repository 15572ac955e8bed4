"""Archives made for tests, honest and hostile."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One entry. target: of a link. kind: of a tar's entry."""

    name: str
    contents: bytes = b""
    target: str = ""
    executable: bool = False
    kind: bytes = tarfile.REGTYPE


def folder(name: str) -> Entry:
    return Entry(name, kind=tarfile.DIRTYPE)


def link(name: str, target: str) -> Entry:
    return Entry(name, target=target, kind=tarfile.SYMTYPE)


SAMPLE = (
    folder("top"),
    Entry("top/readme", b"hello"),
    Entry("top/bin/run", b"#!/bin/sh\n", executable=True),
    link("top/bin/link", "../readme"),
    folder("top/empty"),
)


def tar_of(entries: Iterable[Entry], *, salt: str = "", owner: int = 1000, time: int = 0) -> bytes:
    """Return a tar; salt, owner and time make others of what unpacks to the same."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type, info.linkname, info.size = entry.kind, entry.target, len(entry.contents)
            info.mode = 0o755 if entry.executable else 0o600
            info.uid, info.mtime, info.uname = owner, time, salt
            archive.addfile(info, io.BytesIO(entry.contents))
    return made.getvalue()


def zip_of(entries: Iterable[Entry]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for entry in entries:
            name = f"{entry.name}/" if entry.kind == tarfile.DIRTYPE else entry.name
            info = zipfile.ZipInfo(name)
            info.create_system, info.compress_type = 3, zipfile.ZIP_DEFLATED
            mode = stat.S_IFREG | (0o755 if entry.executable else 0o644)
            if entry.kind == tarfile.SYMTYPE:
                mode = stat.S_IFLNK | 0o777
            if entry.kind == tarfile.FIFOTYPE:
                mode = stat.S_IFIFO | 0o644
            info.external_attr = mode << 16
            archive.writestr(info, entry.target.encode() or entry.contents)
    return made.getvalue()
