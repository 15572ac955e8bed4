"""gzip: when a file was compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from determinism.deflate import Inflation
from determinism.format import Conditions, Data, Declined, Edit, Format, applied

MAGIC = b"\x1f\x8b\x08"  # the last is the one method there is
HEADER_BYTES, TRAILER_BYTES = 10, 8
TEXT, HEADER_SUM, EXTRA, NAME, COMMENT, RESERVED = 1, 2, 4, 8, 16, 0xE0
TIME = slice(4, 8)
EXTRA_FLAGS = 8
LEVELS = {2: 9, 4: 1}  # what extra flags say of how it was compressed
MAX_CONTENTS_BYTES = 4 << 30  # more takes too long to check: the file is left as it is
SLICE_BYTES = 16 << 10  # of a file, given to zlib at a time


def _matches(head: bytes, tail: bytes, name: str) -> bool:
    return head.startswith(MAGIC)


def edits(data: Data, conditions: Conditions, inflation: Inflation | None = None) -> Sequence[Edit]:
    """Return the edits. inflation: how contents are looked into; None: they are not."""
    behind, name = _header(data)
    made = []
    is_whole = False
    if inflation is not None:
        contents = _contents(data, behind, name, inflation)
        is_whole = contents is not None
        inside = conditions.member(contents, name) if contents else ()
        if contents and inside:
            revised = applied(contents, inside)
            end = len(data) - TRAILER_BYTES
            level = LEVELS.get(data[EXTRA_FLAGS], 6)
            packed = inflation.again(data, behind, end, contents, revised, level=level)
            if packed is not None:
                made.append(Edit(behind, len(data), packed + _trailer(revised)))
    time = int.from_bytes(data[TIME], "little")
    if time and conditions.written(time):
        if not is_whole:
            _check_members(data)
        made = [*_time_edits(data, behind), *made]
    return made


def _header(data: Data) -> tuple[int, str]:
    """Return how long the first member's header is, and the name in it, or ""."""
    if len(data) < HEADER_BYTES or data[:3] != MAGIC or data[3] & RESERVED:
        raise Declined("not a gzip header, or one with a reserved flag")
    at, name = HEADER_BYTES, b""
    if data[3] & EXTRA:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (NAME, COMMENT):
        if data[3] & flag:
            end = data.find(b"\0", at)
            if end < 0:
                raise Declined("the header does not end")
            name = data[at:end] if flag == NAME else name
            at = end + 1
    at += _sum_bytes(data, at)
    if at + TRAILER_BYTES > len(data):
        raise Declined("it is cut short")
    return at, name.decode(errors="replace")


def _sum_bytes(data: Data, at: int) -> int:
    """Return how many bytes the header's checksum takes at its end, at byte `at`."""
    if not data[3] & HEADER_SUM:
        return 0
    if zlib.crc32(data[:at]) & 0xFFFF != int.from_bytes(data[at : at + 2], "little"):
        raise Declined("the header's checksum is wrong")
    return 2


def _time_edits(data: Data, behind: int) -> Iterator[Edit]:
    zero = bytes(TIME.stop - TIME.start)
    yield Edit(TIME.start, TIME.stop, zero)
    if data[3] & HEADER_SUM:
        header = data[: TIME.start] + zero + data[TIME.stop : behind - 2]
        sum = zlib.crc32(header) & 0xFFFF
        yield Edit(behind - 2, behind, sum.to_bytes(2, "little"))


def _contents(data: Data, behind: int, name: str, inflation: Inflation) -> bytes | None:
    """Return what a file of one member holds, if that may be of a known format."""
    end = len(data) - TRAILER_BYTES
    if not inflation.worthwhile(data, behind, end, name):
        return None
    try:
        contents = inflation.inflated(data, behind, end)
    except Declined:
        return None  # of several members, maybe
    if contents is None or data[end:] != _trailer(contents):
        return None
    return contents


def _trailer(contents: bytes) -> bytes:
    size = len(contents) & 0xFFFFFFFF
    return zlib.crc32(contents).to_bytes(4, "little") + size.to_bytes(4, "little")


def _check_members(data: Data) -> None:
    """Raise Declined unless `data` is nothing but members that decompress with their checksum.

    At most 1 MiB is held at a time, whatever the members claim, and no more than a slice is copied
    for each, however many there are.
    """
    at = contents = 0
    while at < len(data):
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if at >= len(data):
                raise Declined("the last member is cut short")
            part = data[at : at + SLICE_BYTES]
            at += len(part)
            try:
                while part and not member.eof:
                    contents += len(member.decompress(part, 1 << 20))
                    part = member.unconsumed_tail
            except zlib.error as error:
                raise Declined(str(error)) from None
            if contents > MAX_CONTENTS_BYTES:
                raise Declined(f"it has more than {MAX_CONTENTS_BYTES} bytes of contents")
        at -= len(member.unused_data)


FORMAT = Format(
    name="gzip",
    version=1,
    harmless=True,
    rewrites="The time in the first member's header, if it lies in the action's window, becomes 0 "
    "(none), and the header's checksum is made right. Contents of a known format, in a file of one "
    "member, compressed again where the encoder (zlib, or the program gzip) is recognised.",
    standard="RFC 1952, section 2.3; RFC 1951.",
    preserves="It decompresses to the same bytes, but for what is canonical in them; the time is "
    "only restored by `gunzip -N`.",
    declines="What does not wholly decompress with its checksums; reserved flags. Headers of "
    "further members are left.",
    matches=_matches,
    edits=edits,
)
