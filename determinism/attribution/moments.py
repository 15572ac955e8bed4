"""Times that bytes hold, in the shapes that programs write them in."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple


class Moment(NamedTuple):
    """A time that stands somewhere.

    shape: how it is written. at: where it starts, counted from the difference; 0 for
    text. seconds: since 1970.
    grain: seconds until the next time that can be written so. zoned: whether its offset from UTC is
    known.
    """

    shape: str
    at: int
    seconds: float
    grain: float
    zoned: bool = True


DAY = 86400
ZONE_STEP = 900  # offsets from UTC are multiples of a quarter of an hour
MAX_ZONE = 14 * 3600
_MONTHS = {
    name: number
    for number, name in enumerate(
        b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1
    )
}
_ISO = re.compile(
    rb"(?<!\d)(?P<year>[12]\d{3})(?P<between>[-:/.]?)(?P<month>[01]\d)(?P=between)(?P<day>[0-3]\d)"
    rb"(?:[T _:-]{0,2}(?P<hour>[0-2]\d)[:_-]?(?P<minute>[0-5]\d)(?:[:_]?(?P<second>[0-6]\d))?)?"
    rb"(?:[.,]\d+)?\s?(?P<zone>Z|UTC|GMT|[+-]\d\d[:']?\d\d)?"
)
_MONTH_FIRST = re.compile(
    rb"(?P<month>[A-Z][a-z]{2})\w* +(?P<day>[0-3]?\d),?"
    rb"(?: (?P<hour>[0-2]\d):(?P<minute>[0-5]\d):(?P<second>[0-6]\d))?"
    rb"(?: (?P<zone>[A-Z]{3,4}))? (?P<year>[12]\d{3})(?!\d)"
)
_DAY_FIRST = re.compile(
    rb"(?P<day>[0-3]?\d)[ -](?P<month>[A-Z][a-z]{2})\w*[ -](?P<year>[12]\d{3})"
    rb"(?:[ T](?P<hour>[0-2]\d):(?P<minute>[0-5]\d)(?::(?P<second>[0-6]\d))?)?"
    rb"(?: (?P<zone>[A-Z]{1,4}|[+-]\d{4}))?"
)
_CLOCK = re.compile(rb"(?<![\d:])([0-2]\d):([0-5]\d):([0-6]\d)(?![\d:])")
_DIGITS = re.compile(rb"(?<!\d)(?:\d{10}|\d{13}|\d{16}|\d{19})(?!\d)")
_SCALES = {10: 1, 13: 10**3, 16: 10**6, 19: 10**9}
_HEX = re.compile(rb"[0-9a-fA-F]{8}")
_OCTAL = re.compile(rb"(?<!\d)[0-7]{11,12}(?!\d)")
_UUID1 = re.compile(
    rb"([0-9a-f]{8})-([0-9a-f]{4})-1([0-9a-f]{3})-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
_UUID_EPOCH = 12_219_292_800  # 1582-10-15 to 1970, in seconds
_FILETIME_EPOCH = 11_644_473_600  # 1601 to 1970
_MAC_EPOCH = 2_082_844_800  # 1904 to 1970
_LATEST = 1 << 33  # year 2242
_BINARY = (
    ("32 bits, little-endian, seconds", struct.Struct("<I"), 1, 0, 1),
    ("32 bits, big-endian, seconds", struct.Struct(">I"), 1, 0, 1),
    ("32 bits, big-endian, seconds since 1904", struct.Struct(">I"), 1, _MAC_EPOCH, 1),
    ("64 bits, little-endian, milliseconds", struct.Struct("<Q"), 10**3, 0, 0),
    ("64 bits, big-endian, milliseconds", struct.Struct(">Q"), 10**3, 0, 0),
    ("64 bits, little-endian, microseconds", struct.Struct("<Q"), 10**6, 0, 0),
    ("64 bits, big-endian, microseconds", struct.Struct(">Q"), 10**6, 0, 0),
    ("64 bits, little-endian, nanoseconds", struct.Struct("<Q"), 10**9, 0, 0),
    ("64 bits, big-endian, nanoseconds", struct.Struct(">Q"), 10**9, 0, 0),
    ("FILETIME", struct.Struct("<Q"), 10**7, _FILETIME_EPOCH, 0),
    ("64-bit float, little-endian", struct.Struct("<d"), 1, 0, 0),
    ("64-bit float, big-endian", struct.Struct(">d"), 1, 0, 0),
)
WRAPPED_MILLISECONDS = "32 bits, little-endian, milliseconds"
_MOST_OFFSETS = 64  # of one difference


def moments(data: bytes, start: int, end: int) -> Iterator[Moment]:
    """Yield the times in `data` of which a byte lies between `start` and `end`."""
    for moment, low, high in _written(data):
        if low < max(end, start + 1) and high > start:
            yield moment
    for low in range(max(0, start - 7), min(end, start + _MOST_OFFSETS)):
        for moment in _encoded(data, low):
            yield moment._replace(at=low - start)


def _written(data: bytes) -> Iterator[tuple[Moment, int, int]]:
    for pattern, read in _TEXTS:
        for match in pattern.finditer(data):
            if (moment := read(match)) is not None:
                yield moment, *match.span()


def _clock(match: re.Match[bytes]) -> Moment:
    hour, minute, second = map(int, match.groups())
    return Moment(TIME_OF_DAY, 0, hour * 3600 + minute * 60 + second, 1, zoned=False)


def _decimal(match: re.Match[bytes]) -> Moment:
    scale = _SCALES[len(match[0])]
    return Moment(f"decimal, {scale} to the second", 0, int(match[0]) / scale, 1 / scale)


def _uuid(match: re.Match[bytes]) -> Moment:
    ticks = int(match[3] + match[2] + match[1], 16)
    return Moment("UUID of version 1", 0, ticks / 10**7 - _UUID_EPOCH, 0)


TIME_OF_DAY = "time of day"


def _calendar(match: re.Match[bytes], shape: str) -> Moment | None:
    given = match.groupdict()
    month = given["month"]
    number = int(month) if month.isdigit() else _MONTHS.get(month, 0)
    hour, minute, second = (int(given[name] or 0) for name in ("hour", "minute", "second"))
    try:
        at = datetime(int(given["year"]), number, int(given["day"]), hour, minute, tzinfo=UTC)
    except ValueError:
        return None
    grain = 1 if given["second"] else 60 if given["minute"] else DAY
    offset = _offset(given["zone"] or b"")
    seconds = at.timestamp() + second - (offset or 0)
    return Moment(f"{shape}, to {grain} s", 0, seconds, grain, zoned=offset is not None)


def _offset(zone: bytes) -> int | None:
    """Return seconds east of UTC; None where a name's are not known."""
    if zone in {b"Z", b"UTC", b"GMT"}:
        return 0
    digits = bytes(byte for byte in zone if byte in b"0123456789")
    if len(digits) != 4:  # noqa: PLR2004
        return None
    size = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -size if zone.startswith(b"-") else size


_TEXTS: tuple[tuple[re.Pattern[bytes], Callable[[re.Match[bytes]], Moment | None]], ...] = (
    (_ISO, partial(_calendar, shape="ISO 8601")),
    (_MONTH_FIRST, partial(_calendar, shape="date")),
    (_DAY_FIRST, partial(_calendar, shape="RFC 2822")),
    (_CLOCK, _clock),
    (_DIGITS, _decimal),
    (_HEX, lambda match: Moment("seconds in hexadecimal", 0, int(match[0], 16), 1)),
    (_OCTAL, lambda match: Moment("seconds in octal", 0, int(match[0], 8), 1)),
    (_UUID1, _uuid),
)


def _encoded(data: bytes, at: int) -> Iterator[Moment]:
    for shape, form, scale, epoch, grain in _BINARY:
        if at + form.size <= len(data):
            seconds = form.unpack_from(data, at)[0] / scale - epoch
            if 0 < seconds < _LATEST:
                yield Moment(shape, 0, seconds, grain)
    if (png := _broken_down(data[at : at + 7])) is not None:
        yield Moment("year, month, day, hour, minute, second in 7 bytes", 0, png, 1)
    if at + 4 > len(data):
        return
    (number,) = struct.unpack_from("<I", data, at)
    yield Moment(WRAPPED_MILLISECONDS, 0, number / 1000, 0)
    dos = _dos(number)
    if dos is not None:
        yield Moment("DOS date and time", 0, dos, 2, zoned=False)


def _broken_down(data: bytes) -> float | None:
    """Decode what PNG's tIME chunk holds. Source: PNG (Third Edition), 11.3.6.1."""
    try:
        year, month, day, hour, minute, second = struct.unpack(">H5B", data)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except (ValueError, struct.error):
        return None


WRAP_SECONDS = (1 << 32) / 1000


def _dos(number: int) -> float | None:
    """Decode the time in the low half and the date in the high one. Source: APPNOTE.TXT, 4.4.6."""
    time, date = number & 0xFFFF, number >> 16
    try:
        return datetime(
            1980 + (date >> 9),
            date >> 5 & 15,
            date & 31,
            time >> 11,
            time >> 5 & 63,
            (time & 31) * 2,
            tzinfo=UTC,
        ).timestamp()
    except ValueError:
        return None
