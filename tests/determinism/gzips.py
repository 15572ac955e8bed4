"""gzip files as real programs write them, and what they decompress to."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import zlib
from pathlib import Path

BEGUN, ENDED = 1_800_000_000.0, 1_800_000_060.0
INSIDE, BEFORE, AFTER = int(BEGUN) + 30, int(BEGUN) - 1, int(ENDED) + 1
TEXT = b"the quick brown fox jumps over the lazy dog\n" * 50
NAME_FLAG, HEADER_SUM_FLAG, EXTRA_FLAG, COMMENT_FLAG = 0x08, 0x02, 0x04, 0x10


def member(
    data: bytes = TEXT,
    *,
    time: int = INSIDE,
    name: bytes = b"",
    comment: bytes = b"",
    extra: bytes = b"",
    header_sum: bool = False,
    level: int = 6,
) -> bytes:
    """Return one gzip member. Source: RFC 1952, section 2.3."""
    flags = NAME_FLAG * bool(name) | COMMENT_FLAG * bool(comment)
    flags |= EXTRA_FLAG * bool(extra) | HEADER_SUM_FLAG * header_sum
    head = bytes([0x1F, 0x8B, 8, flags]) + time.to_bytes(4, "little") + bytes([0, 3])
    if extra:
        head += len(extra).to_bytes(2, "little") + extra
    head += b"".join(text + b"\0" for text in (name, comment) if text)
    if header_sum:
        head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    deflate = zlib.compressobj(level, wbits=-15)
    body = deflate.compress(data) + deflate.flush()
    return head + body + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")


def block(data: bytes) -> bytes:
    """Return a BGZF block: its size stands in the extra field `BC`."""
    size = len(member(data, extra=b"BC\2\0\0\0")) - 1
    return member(data, extra=b"BC\2\0" + size.to_bytes(2, "little"))


def by_program(folder: Path, *arguments: str) -> bytes:
    """Return what the program gzip makes of a file whose time is INSIDE."""
    file = folder / "input.txt"
    file.write_bytes(TEXT)
    os.utime(file, (INSIDE, INSIDE))
    return subprocess.run(
        ["gzip", "--stdout", *arguments, file], capture_output=True, check=True
    ).stdout


def tar_gz() -> bytes:
    """Return a compressed tar file, as Python's tarfile writes it."""
    made = io.BytesIO()
    with (
        gzip.GzipFile("x.tar", "wb", fileobj=made, mtime=INSIDE) as packed,
        tarfile.open(mode="w", fileobj=packed) as archive,
    ):
        entry = tarfile.TarInfo("file")
        entry.size = len(TEXT)
        archive.addfile(entry, io.BytesIO(TEXT))
    return made.getvalue()


def in_pieces() -> bytes:
    """Return one member of blocks that were compressed apart and flushed, as pigz joins them."""
    head = member(b"")[:10]
    deflate = zlib.compressobj(6, wbits=-15)
    body = b"".join(deflate.compress(TEXT) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(4))
    body += deflate.flush()
    whole = TEXT * 4
    return head + body + zlib.crc32(whole).to_bytes(4, "little") + len(whole).to_bytes(4, "little")


def time_of(data: bytes) -> int:
    return int.from_bytes(data[4:8], "little")
