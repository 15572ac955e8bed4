"""Folders of this machine, as the protocol writes them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cas.digest import Digest, DigestFunction
from cas.folder import Blobs, File, Folder, Link, Unsendable
from cas.git_sha1 import SizeMismatch
from re_client.upload import FileChanged


def scan(path: Path, function: DigestFunction, blobs: Blobs) -> File | Folder:
    """Hash a file, or a folder and all below it; add what was hashed to `blobs`.

    Symlinks below a folder are kept as they are, `path` itself is followed.
    Raises OSError, and Unsendable for sockets, devices, pipes and names that are not UTF-8.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return _file(path, mode, function, blobs)
    if not stat.S_ISDIR(mode):
        raise Unsendable(f"{path} is neither a file nor a folder nor a symlink")
    folder = Folder()
    with os.scandir(path) as entries:
        for entry in entries:
            folder.entries[_utf8(entry.name, path)] = _entry(entry, function, blobs)
    return folder


def _entry(entry: os.DirEntry[str], function: DigestFunction, blobs: Blobs) -> File | Link | Folder:
    if entry.is_symlink():
        path = Path(entry.path)
        return Link(_utf8(os.readlink(path), path))  # noqa: PTH115  Path makes `./x` into `x`
    return scan(Path(entry.path), function, blobs)


def _utf8(name: str, path: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Unsendable(f"{os.fsencode(name)!r} in {path} is not UTF-8") from None
    return name


def _file(path: Path, mode: int, function: DigestFunction, blobs: Blobs) -> File:
    digest = digest_of_file(path, function)
    blobs.setdefault(digest, path)
    return File(digest, executable=bool(mode & stat.S_IXUSR))


def digest_of_file(path: Path, function: DigestFunction) -> Digest:
    """Name the bytes of a file; raise OSError, FileChanged."""
    try:
        return Digest.of_path(path, function)
    except SizeMismatch:
        raise FileChanged(f"{path} changed while it was read: try again") from None
