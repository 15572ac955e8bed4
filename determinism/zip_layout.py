"""Where everything stands in a zip file, if all of it is understood.

Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from determinism.format import Data, Declined

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR64 = struct.Struct("<4sLQL")
LOCAL_MAGIC, CENTRAL_MAGIC, END_MAGIC = b"PK\3\4", b"PK\1\2", b"PK\5\6"
END64_MAGIC, LOCATOR64_MAGIC, DESCRIPTOR_MAGIC = b"PK\6\6", b"PK\6\7", b"PK\7\x08"
MAX_COMMENT_BYTES = 0xFFFF
ZIP64 = 0x0001  # the extra field that has what is too large for 32 bits
IN_ZIP64, COUNT_IN_ZIP64 = 0xFFFFFFFF, 0xFFFF
ENCRYPTED = 0x0001 | 0x0040 | 0x2000
HAS_DESCRIPTOR = 0x0008
STORED, DEFLATED, AES = 0, 8, 99


class Number(NamedTuple):
    """A number in the file: where it stands, in how many bytes (little-endian), and what it is."""

    at: int
    width: int
    value: int


class Header(NamedTuple):
    """A local header, or an entry of the central directory, and the extra fields of it.

    at: of its first byte. time: where the DOS time stands, and the date behind it.
    """

    at: int
    flags: int
    method: int
    time: int
    name: bytes
    crc: Number
    packed: Number
    size: Number
    extra: tuple[int, int]
    behind: int


class Member(NamedTuple):
    """offset: in the central directory, of the local header, less `Layout.shift`.

    start, end: of its bytes. descriptor: crc and sizes that stand behind them, if any do.
    """

    central: Header
    offset: Number
    local: Header
    start: int
    end: int
    descriptor: tuple[Number, ...]
    behind: int


class Layout(NamedTuple):
    """A whole zip file.

    members: in the order of their bytes. shift: how far offsets are from places in the file, where
    something was put before it. directory: where the central one starts. offsets: other numbers
    that count from there.
    """

    members: list[Member]
    shift: int
    directory: int
    offsets: tuple[Number, ...]


class _End(NamedTuple):
    start: int
    behind: int
    members: int
    shift: int
    offsets: tuple[Number, ...]


def parsed(data: Data) -> Layout:
    """Return where everything is; raise Declined for what is not wholly a zip file."""
    end = _end(data)
    entries = list(_central(data, end))
    if len(entries) != end.members:
        raise Declined("the number of its members is wrong")
    entries.sort(key=lambda entry: entry[1].value)
    members = [_member(data, header, offset, end) for header, offset in entries]
    at = members[0].local.at if members else end.start
    if at and data[:4] == LOCAL_MAGIC:
        raise Declined("it begins with something that is not listed")
    for member in members:
        if member.local.at != at:
            raise Declined("members overlap, or something lies between them")
        at = member.behind
    if at != end.start:
        raise Declined("something lies before the central directory")
    return Layout(members, end.shift, end.start, end.offsets)


def _end(data: Data) -> _End:
    """Find the end record, whose comment has to reach to the end of the file."""
    least = max(0, len(data) - END.size - MAX_COMMENT_BYTES)
    at = data.rfind(END_MAGIC, least)
    while at >= 0 and not _ends_at(data, at):
        at = data.rfind(END_MAGIC, least, at)
    if at < 0 or any(_ends_at(data, other) for other in _all(data, least, at)):
        raise Declined("there is no end record, or more than one")
    _, disk, first, here, count, size, offset, _ = END.unpack_from(data, at)
    offsets: tuple[Number, ...] = (Number(at + 16, 4, offset),)
    behind = at
    locator = at - LOCATOR64.size
    if locator >= 0 and data[locator : locator + 4] == LOCATOR64_MAGIC:
        behind = locator - END64.size
        disk, first, here, count, size, offset, offsets = _end64(data, behind, locator, offsets[0])
    start = behind - size
    shift = start - offset
    if disk or first or here != count or start < 0 or shift < 0:
        raise Declined("it has several disks, or the directory is not where it should be")
    if len(offsets) > 1 and offsets[-1].value + shift != behind:
        raise Declined("the 64-bit end record is not where it should be")
    return _End(start, behind, count, shift, offsets)


def _all(data: Data, least: int, end: int) -> Iterator[int]:
    at = data.find(END_MAGIC, least, end)
    while at >= 0:
        yield at
        at = data.find(END_MAGIC, at + 1, end)


def _ends_at(data: Data, at: int) -> bool:
    if at + END.size > len(data):
        return False
    comment = int.from_bytes(data[at + 20 : at + 22], "little")
    return at + END.size + comment == len(data)


def _end64(
    data: Data, at: int, locator: int, offset32: Number
) -> tuple[int, int, int, int, int, int, tuple[Number, ...]]:
    if at < 0 or data[at : at + 4] != END64_MAGIC:
        raise Declined("there is no 64-bit end record")
    _, rest, _, _, disk, first, here, count, size, offset = END64.unpack_from(data, at)
    _, end_disk, end_at, disks = LOCATOR64.unpack_from(data, locator)
    if rest != END64.size - 12 or end_disk or disks > 1:
        raise Declined("it has several disks, or a 64-bit end record of an unknown kind")
    narrow = (offset32,) if offset32.value != IN_ZIP64 else ()
    if narrow and offset32.value != offset:
        raise Declined("the end records differ")
    places = (*narrow, Number(at + 48, 8, offset), Number(locator + 8, 8, end_at))
    return disk, first, here, count, size, offset, places


def _central(data: Data, end: _End) -> Iterator[tuple[Header, Number]]:
    """Yield the entries of the central directory, each with the offset of its local header."""
    at = end.start
    while at < end.behind:
        if at + CENTRAL.size > end.behind or data[at : at + 4] != CENTRAL_MAGIC:
            raise Declined(f"there is no entry at byte {at}")
        fields = CENTRAL.unpack_from(data, at)
        flags, method, crc, packed, size = *fields[3:5], *fields[7:10]
        name_bytes, extra_bytes, comment_bytes, disk = fields[10:14]
        named = at + CENTRAL.size
        extra = (named + name_bytes, named + name_bytes + extra_bytes)
        behind = extra[1] + comment_bytes
        if behind > end.behind:
            raise Declined("an entry is cut short")
        numbers = _numbers(
            data,
            extra,
            Number(at + 24, 4, size),
            Number(at + 20, 4, packed),
            Number(at + 42, 4, fields[16]),
        )
        if disk not in (0, COUNT_IN_ZIP64):
            raise Declined("it has several disks")
        yield (
            Header(
                at,
                flags,
                method,
                at + 12,
                data[named : extra[0]],
                Number(at + 16, 4, crc),
                packed=numbers[1],
                size=numbers[0],
                extra=extra,
                behind=behind,
            ),
            numbers[2],
        )
        at = behind


def _numbers(data: Data, extra: tuple[int, int], *narrow: Number) -> list[Number]:
    """Return the numbers, those that do not fit from the 64-bit extra field."""
    if IN_ZIP64 not in [number.value for number in narrow]:
        return list(narrow)
    wide = next((at for kind, at, _ in extras(data, extra) if kind == ZIP64), None)
    found: list[Number] = []
    for number in narrow:
        if number.value != IN_ZIP64:
            found.append(number)
            continue
        if wide is None or wide + 8 > extra[1]:
            raise Declined("a 64-bit number is missing")
        found.append(Number(wide, 8, int.from_bytes(data[wide : wide + 8], "little")))
        wide += 8
    return found


def extras(data: Data, extra: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield the kind, start and end of each extra field; up to 3 zeros may follow, to align."""
    at, end = extra
    while at + 4 <= end:
        kind, size = struct.unpack_from("<2H", data, at)
        if at + 4 + size > end:
            raise Declined("an extra field is cut short")
        yield kind, at + 4, at + 4 + size
        at += 4 + size
    if any(data[at:end]):
        raise Declined("something stands behind the extra fields")


def _member(data: Data, central: Header, offset: Number, end: _End) -> Member:
    """Return a member whose two headers agree; raise Declined if they do not."""
    if central.flags & ENCRYPTED or central.method == AES:
        raise Declined("it is encrypted")
    at = offset.value + end.shift
    if at + LOCAL.size > end.start or data[at : at + 4] != LOCAL_MAGIC:
        raise Declined(f"there is no member at byte {at}")
    fields = LOCAL.unpack_from(data, at)
    flags, method, crc, packed, size = *fields[2:4], *fields[6:9]
    named = at + LOCAL.size
    extra = (named + fields[9], named + fields[9] + fields[10])
    start = extra[1]
    numbers = _numbers(data, extra, Number(at + 22, 4, size), Number(at + 18, 4, packed))
    local = Header(
        at,
        flags,
        method,
        at + 10,
        data[named : extra[0]],
        Number(at + 14, 4, crc),
        packed=numbers[1],
        size=numbers[0],
        extra=extra,
        behind=start,
    )
    stop = start + central.packed.value
    if stop > end.start or (local.name, flags, method) != (central.name, *central[1:3]):
        raise Declined("the headers of a member differ")
    descriptor: tuple[Number, ...] = ()
    behind = stop
    if flags & HAS_DESCRIPTOR:
        descriptor = _descriptor(data, stop, central)
        behind = descriptor[-1].at + descriptor[-1].width
    _check_numbers(local, central, told_later=bool(descriptor))
    return Member(central, offset, local, start, stop, descriptor, behind)


def _check_numbers(local: Header, central: Header, *, told_later: bool) -> None:
    told = (local.crc.value, local.packed.value, local.size.value)
    expected = (central.crc.value, central.packed.value, central.size.value)
    if told != expected and not (
        told_later and all(here in (0, there) for here, there in zip(told, expected, strict=True))
    ):
        raise Declined("the headers of a member differ")


def _descriptor(data: Data, at: int, central: Header) -> tuple[Number, ...]:
    """Return what stands behind a member's bytes: CRC and sizes, of 4 or 8 bytes each."""
    told = (central.crc.value, central.packed.value, central.size.value)
    start = at + 4 if data[at : at + 4] == DESCRIPTOR_MAGIC else at
    for first, width in ((start, 4), (start, 8), (at, 4), (at, 8)):
        numbers = tuple(
            Number(place, size, int.from_bytes(data[place : place + size], "little"))
            for place, size in ((first, 4), (first + 4, width), (first + 4 + width, width))
        )
        behind = data[numbers[-1].at + width : numbers[-1].at + width + 2]
        if tuple(number.value for number in numbers) == told and behind == b"PK":
            return numbers
    raise Declined("a member's size and checksum do not stand behind it")
