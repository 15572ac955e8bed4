"""gzip: the time at which a file was compressed."""

from __future__ import annotations

import zlib

MAGIC = b"\x1f\x8b"
HEADER_BYTES = 10
DEFLATE = 8
FHCRC = 0x02  # a checksum of the header, which covers the time
FEXTRA = 0x04  # BGZF keeps block sizes there; its writers set no time
RESERVED = 0xE0
TIME = slice(4, 8)
MAX_CONTENTS_BYTES = 4 << 30  # more takes too long to check: the file is left as it is
SLICE_BYTES = 16 << 10  # of a file, given to zlib at a time


def rewrite(data: bytes, *, begun: float, ended: float) -> bytes:
    """Zero the time stamp of the first member's header, if it lies between `begun` and `ended`.

    data: a whole gzip file, of one or more members. begun, ended: seconds since 1970; the time
    has a grain of one second. Returns bytes of the same length, which decompress to the same
    contents: the time is in no checksum unless FHCRC is set, and such files are left as they are.
    Raises ValueError if `data` is not wholly a gzip file.

    Source: RFC 1952, section 2.3.1: MTIME is bytes 4 to 7, little-endian; 0 is "no time stamp".
    """
    if len(data) < HEADER_BYTES or data[:2] != MAGIC or data[2] != DEFLATE:
        raise ValueError("not a gzip header")
    if data[3] & RESERVED:
        raise ValueError("a reserved flag is set")
    time = int.from_bytes(data[TIME], "little")
    if data[3] & (FHCRC | FEXTRA) or not int(begun) <= time <= ended:
        return data
    _check_members(data)
    return data[: TIME.start] + bytes(4) + data[TIME.stop :]


def _check_members(data: bytes) -> None:
    """Raise ValueError unless `data` is nothing but members that decompress with their checksum.

    At most 1 MiB is held at a time, whatever the members claim, and no more than a slice is copied
    for each, however many there are.
    """
    at = contents = 0
    while at < len(data):
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if at >= len(data):
                raise ValueError("the last member is cut short")
            part = data[at : at + SLICE_BYTES]
            at += len(part)
            try:
                while part and not member.eof:
                    contents += len(member.decompress(part, 1 << 20))
                    part = member.unconsumed_tail
            except zlib.error as error:
                raise ValueError(str(error)) from None
            if contents > MAX_CONTENTS_BYTES:
                raise ValueError(f"it has more than {MAX_CONTENTS_BYTES} bytes of contents")
        at -= len(member.unused_data)
