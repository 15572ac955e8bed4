"""PNG: when an image was changed, and when its file was made."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from determinism.dates import offset_minutes, seconds_of, wrote
from determinism.format import Conditions, Data, Declined, Edit, Format

MAGIC = b"\x89PNG\r\n\x1a\n"
FRAME_BYTES = 12  # length, type and checksum of a chunk
MAX_DATE_BYTES = 256  # of a chunk with a date: longer text is none
CHECKED_BYTES = 1 << 20  # of a chunk, copied to be checked at a time

DATES = (b"date:create", b"date:modify", b"date:timestamp", b"create-date", b"modify-date")
CREATION = b"Creation Time"
DATE = re.compile(rb"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(Z|[+-]\d\d:?\d\d|)")
MAIL_DATE = re.compile(
    rb"(?:\w{3}, )?(\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) (GMT|UTC|[+-]\d{4})"
)
MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
FIRST_TIME = b"\x07\xd0\x01\x01\0\0\0"  # 2000-01-01 00:00:00: pngcheck takes none before 1995

OTHERS = {b"acTL", b"fcTL", b"fdAT", b"caBX", b"dSIG"}  # animations; what signs the file


class _Chunk(NamedTuple):
    """kind: its four letters. start, end: where its data is. The checksum follows."""

    kind: bytes
    start: int
    end: int


def matches(head: bytes, tail: bytes, name: str) -> bool:
    return head.startswith(MAGIC)


def edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    """Set the times in tIME and in text chunks that the action wrote to the start of 2000."""
    chunks = list(_chunks(data))
    others = {chunk.kind for chunk in chunks} & OTHERS
    if others:
        raise Declined(f"it has a chunk {others.pop().decode()}")
    found = []
    for chunk in chunks:
        new = _canonical(data, chunk, conditions)
        if new is not None and new != data[chunk.start : chunk.end]:
            body = chunk.kind + new
            framed = len(new).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
            found.append(Edit(chunk.start - 8, chunk.end + 4, framed))
    if found:
        _check_sums(data, chunks)
    return found


def _chunks(data: Data) -> Iterator[_Chunk]:
    """Yield the chunks. Raises Declined unless they are the whole file."""
    if data[: len(MAGIC)] != MAGIC:
        raise Declined("it is no PNG file")
    at, kind = len(MAGIC), b""
    while at < len(data) and kind != b"IEND":
        start = at + 8
        kind, end = data[at + 4 : start], start + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data) or (at == len(MAGIC)) != (kind == b"IHDR"):
            raise Declined("its chunks are cut short or out of order")
        yield _Chunk(kind, start, end)
        at = end + 4
    if kind != b"IEND" or at != len(data):
        raise Declined("it is cut short, or something follows it")


def _check_sums(data: Data, chunks: Iterable[_Chunk]) -> None:
    for chunk in chunks:
        kept = data[chunk.end : chunk.end + 4]
        if _sum(data, chunk.start - 4, chunk.end) != int.from_bytes(kept, "big"):
            raise Declined("a checksum in it is wrong")


def _sum(data: Data, start: int, end: int) -> int:
    value = 0
    for at in range(start, end, CHECKED_BYTES):
        value = zlib.crc32(data[at : min(at + CHECKED_BYTES, end)], value)
    return value


def _canonical(data: Data, chunk: _Chunk, conditions: Conditions) -> bytes | None:
    """Return what is to stand in a chunk, or None if it stays."""
    if chunk.end - chunk.start > MAX_DATE_BYTES:
        return None
    body = data[chunk.start : chunk.end]
    match chunk.kind:
        case b"tIME" if len(body) == len(FIRST_TIME):
            local = seconds_of((int.from_bytes(body[:2], "big"), *body[2:]))
            return FIRST_TIME if wrote(conditions, local, 0) else None
        case b"tEXt":
            start, packed = body.find(b"\0") + 1, False
        case b"zTXt":
            start, packed = body.find(b"\0") + 2, True
        case b"iTXt":  # behind flag and method, language and translated keyword
            language = body.find(b"\0") + 3
            start, packed = (
                body.find(b"\0", body.find(b"\0", language) + 1) + 1,
                body[language - 2 : language - 1] == b"\1",
            )
        case _:
            return None
    return _dated(body, start, conditions, packed=packed)


def _dated(body: bytes, start: int, conditions: Conditions, *, packed: bool) -> bytes | None:
    """Return a text chunk with the date that begins at `start` set to 2000, if it is one."""
    keyword = body.partition(b"\0")[0]
    if keyword != CREATION and keyword not in DATES:
        return None
    text = _unpacked(body[start:]) if packed else body[start:]
    new = _first_date(text, conditions)
    if new is None:
        return None
    return body[:start] + (_stored(new) if packed else new)


def _first_date(text: bytes, conditions: Conditions) -> bytes | None:
    """Return the start of 2000, written as `text` is; None unless that is a time of the action."""
    if match := DATE.fullmatch(text):
        *parts, zone = match.groups()
        form = b"2000-01-01%b00:00:00%b" % (text[10:11], re.sub(rb"\d", b"0", text[19:]))
    elif match := MAIL_DATE.fullmatch(text):
        day, month, year, *time, zone = match.groups()
        parts = [year, b"%d" % (MONTHS.index(month) + 1 if month in MONTHS else 0), day, *time]
        form = (b"Sat, " if text[3:4] == b"," else b"") + b"01 Jan 2000 00:00:00 "
        form += re.sub(rb"\d", b"0", zone)
    else:
        return None
    return form if wrote(conditions, seconds_of(parts), offset_minutes(zone)) else None


def _unpacked(packed: bytes) -> bytes:
    """Return the text of a zlib stream of at most MAX_DATE_BYTES, else nothing."""
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(packed, MAX_DATE_BYTES)
    except zlib.error:
        return b""
    return text if stream.eof and not stream.unused_data else b""


def _stored(text: bytes) -> bytes:
    """Return a zlib stream that holds `text` as it is: one that depends on no encoder.

    Source: RFC 1950, section 2.2, and RFC 1951, section 3.2.4.
    """
    size = len(text).to_bytes(2, "little")
    inverse = (len(text) ^ 0xFFFF).to_bytes(2, "little")
    return b"\x78\x01\x01" + size + inverse + text + zlib.adler32(text).to_bytes(4, "big")


FORMAT = Format(
    name="png",
    version=1,
    harmless=True,
    rewrites="tIME, and the dates in text chunks date:create, date:modify, date:timestamp,"
    " create-date, modify-date and Creation Time, with the start of 2000",
    standard="Portable Network Graphics (W3C), sections 11.3.3 and 11.3.5",
    preserves="the chunks are ancillary and do not bear upon the image",
    declines="times that the action did not write; animations; signed images; anything behind the"
    " image, or a wrong checksum",
    matches=matches,
    edits=edits,
)
