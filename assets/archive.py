"""Archives of tar and zip, unpacked entry by entry."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from assets.decompression import RATIO_FLOOR_BYTES, check_size, decompressed
from assets.fault import ContentMismatch
from assets.limits import UnpackLimits
from assets.tree_builder import MAX_TARGET_BYTES, TreeBuilder

READ_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 18  # of one entry of a tar: long names, and attributes that are left out
MAX_LISTING_BYTES = 16 << 20  # of a zip's central directory, which is in memory as a whole
ZIP_MAGIC = (b"PK\3\4", b"PK\5\6")  # of an archive with entries, and without
UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
UNIX = 3  # a zip's `version made by`: the upper half of its attributes is a mode


def unpack(
    archive: Path,
    tree: TreeBuilder,
    spare: Path,
    limits: UnpackLimits,
    ended: Callable[[], bool] = lambda: False,
) -> None:
    """Add all entries of `archive` to `tree`.

    spare: a name for what is taken out of a compressed one. ended: tells that nobody waits any
    more. Owners, times and modes are left out, but for the right of owners to execute a file.
    Raises ContentMismatch, AssetTooLarge, FetchEnded.
    """
    with archive.open("rb") as file:
        is_zip = file.read(4) in ZIP_MAGIC
    try:
        if is_zip:
            _unpack_zip(archive, tree, limits)
        else:
            _unpack_tar(decompressed(archive, spare, limits, ended), tree)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ContentMismatch(f"it is no archive that can be read: {error}") from None


class _BoundedReads(io.FileIO):
    """A file that refuses to be read in large pieces, which would be as large in memory."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > self._most:
            size = self._most + 1
        data = super().read(size) or b""
        if len(data) > self._most:
            raise ContentMismatch(f"one of its headers is larger than {self._most} bytes")
        return data


def _unpack_tar(path: Path, tree: TreeBuilder) -> None:
    with (
        _BoundedReads(path, MAX_HEADER_BYTES) as file,
        tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive,
    ):
        for member in archive:
            _add_member(archive, member, tree)
        file.seek(archive.offset)  # where reading ended: tarfile takes a damaged header for the end
        if any(file.read(tarfile.BLOCKSIZE)):
            raise ContentMismatch("one of its headers is damaged")


def _add_member(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: TreeBuilder) -> None:
    if member.isdir():
        tree.directory(member.name)
    elif member.issym():
        tree.link(member.name, member.linkname)
    elif member.islnk():
        tree.hard_link(member.name, member.linkname)
    elif member.isreg():
        contents = archive.extractfile(member)
        assert contents is not None
        with contents:
            executable = bool(member.mode & stat.S_IXUSR)
            tree.file(member.name, _chunks(contents, member.size), executable=executable)
    else:
        raise ContentMismatch(f"{member.name!r} is a device, a pipe or what there is no form for")


def _chunks(contents: IO[bytes], size: int) -> Iterator[bytes]:
    read = 0
    while chunk := contents.read(READ_BYTES):
        read += len(chunk)
        yield chunk
    if read != size:
        raise ContentMismatch("it is cut short")


def _unpack_zip(path: Path, tree: TreeBuilder, limits: UnpackLimits) -> None:
    most = min(limits.bytes, max(RATIO_FLOOR_BYTES, limits.ratio * path.stat().st_size))
    with _BoundedReads(path, MAX_LISTING_BYTES) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        check_size(sum(member.file_size for member in members), most, limits)
        for member in members:
            try:
                _add_zip_member(archive, member, tree)
            except (NotImplementedError, RuntimeError) as error:
                raise ContentMismatch(f"{member.filename!r} cannot be read: {error}") from None


def _add_zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, tree: TreeBuilder) -> None:
    name = _zip_name(member)
    mode = member.external_attr >> 16 if member.create_system == UNIX else 0
    kind = stat.S_IFMT(mode)
    if member.flag_bits & ENCRYPTED_FLAG:
        raise ContentMismatch(f"{name!r} is encrypted")
    if name.endswith("/"):
        tree.directory(name)
        return
    with archive.open(member) as contents:
        if kind == stat.S_IFLNK:
            target = contents.read(MAX_TARGET_BYTES + 1)
            tree.link(name, _utf8(target, name))
        elif kind in {0, stat.S_IFREG}:
            chunks = _chunks(contents, member.file_size)
            tree.file(name, chunks, executable=bool(mode & stat.S_IXUSR))
        else:
            raise ContentMismatch(f"{name!r} is a device, a pipe or what there is no form for")


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Return a member's name, which is UTF-8 also where it does not say so.

    Source: APPNOTE.TXT, appendix D. Other names are in code page 437, but programs on Unix write
    what the file system has.
    """
    name = member.orig_filename
    return name if member.flag_bits & UTF8_FLAG else _utf8(name.encode("cp437"), name)


def _utf8(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ContentMismatch(f"{name!r}: not UTF-8") from None
