"""Archives that are compressed as a whole, taken apart into a file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from assets.fault import AssetTooLarge, ContentMismatch
from assets.limits import UnpackLimits
from assets.tree_builder import FetchEnded

READ_BYTES = 1 << 16
PART_BYTES = 1 << 20
ZSTD_SLICE_BYTES = 1024  # a block of 4 bytes can stand for 128 KiB: 32 MiB at the most
XZ_MEMORY_BYTES = 128 << 20  # what `xz -9` makes takes 65 MiB
ZSTD_WINDOW_BYTES = 128 << 20  # of `zstd --long`
RATIO_FLOOR_BYTES = 64 << 20  # up to here any ratio will do


def decompressed(
    archive: Path, into: Path, limits: UnpackLimits, ended: Callable[[], bool]
) -> Path:
    """Return `archive`, or `into` with what is compressed in it.

    What it is shows in its first bytes. Raises AssetTooLarge, ContentMismatch, FetchEnded.
    """
    with archive.open("rb") as file:
        head = file.read(max(map(len, _READERS)))
        reader = next((one for magic, one in _READERS.items() if head.startswith(magic)), None)
        if reader is None:
            return archive
        file.seek(0)
        most = min(limits.bytes, max(RATIO_FLOOR_BYTES, limits.ratio * archive.stat().st_size))
        size = 0
        with into.open("xb", buffering=0) as out:
            for part in _read(reader, file):
                size += len(part)
                check_size(size, most, limits)
                if ended():
                    raise FetchEnded
                out.write(part)
    return into


def check_size(size: int, most: int, limits: UnpackLimits) -> None:
    """Raise AssetTooLarge if `size` is more than `most`, which follows from `limits`."""
    if size > most:
        raise AssetTooLarge(
            f"it unpacks to more than {most} bytes; assets.max_unpacked_bytes = {limits.bytes} and "
            f"assets.max_ratio = {limits.ratio} bound that"
        )


def _read(reader: Callable[[BinaryIO], Iterator[bytes]], file: BinaryIO) -> Iterator[bytes]:
    parts = reader(file)
    while True:
        try:
            part = next(parts, None)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise ContentMismatch(f"it cannot be decompressed: {error}") from None
        if part is None:
            return
        yield part


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as reader:
        while part := reader.read(PART_BYTES):
            yield part


def _bzip2(file: BinaryIO) -> Iterator[bytes]:
    with bz2.BZ2File(file) as reader:
        while part := reader.read(PART_BYTES):
            yield part


def _xz(file: BinaryIO) -> Iterator[bytes]:
    stream: lzma.LZMADecompressor | None = None
    while data := file.read(READ_BYTES):
        while data or (stream is not None and not stream.needs_input):
            if stream is None:
                data = data.lstrip(b"\0")  # padding between streams
                if not data:
                    break
                stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
            yield stream.decompress(data, PART_BYTES)
            data = b""
            if stream.eof:
                data, stream = stream.unused_data, None
    if stream is not None:
        raise EOFError("it is cut short")


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    frame: zstandard.ZstdDecompressionObj | None = None
    while data := file.read(ZSTD_SLICE_BYTES):
        while data:
            if frame is None:
                decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
                frame = decoder.decompressobj()
            yield frame.decompress(data)
            data = b""
            if frame.eof:
                data, frame = frame.unused_data, None
    if frame is not None:
        raise EOFError("it is cut short")


# By what files begin with. Source: RFC 1952, RFC 8878, the descriptions of .xz and of bzip2.
_READERS: dict[bytes, Callable[[BinaryIO], Iterator[bytes]]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": _bzip2,
    b"\xfd7zXZ\0": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
}
