"""zip, and what is made of it (wheels, jars, zipapps): when its members were changed."""

from __future__ import annotations

import re
import struct
import zlib
from bisect import bisect_right
from calendar import timegm
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from determinism.deflate import Inflation
from determinism.format import Conditions, Data, Declined, Edit, Format, applied
from determinism.guards import Search, traces
from determinism.members import MAX_MEMBER_BYTES, changes
from determinism.zip_layout import (
    DEFLATED,
    END_MAGIC,
    LOCAL_MAGIC,
    STORED,
    Header,
    Layout,
    Member,
    Number,
    extras,
    parsed,
)

JMOD = b"JM\1\0"  # before a zip file: the JDK's own linker reads these
SIGNED_EXTENSION = b"Cr24"
EPOCH = 315_532_800  # 1980-01-01 00:00:00 UTC, the earliest that DOS can say
DOS_EPOCH = struct.pack("<2H", 0, 1 << 5 | 1)
NTFS_EPOCH = (EPOCH + 11_644_473_600) * 10_000_000  # in 100 ns since 1601
TIMES, OLD_TIMES, PKWARE_TIMES, NTFS_TIMES = 0x5455, 0x5855, 0x000D, 0x000A
SIGNATURE = re.compile(
    rb"META-INF/(SIG-[^/]*|[^/]*\.(SF|RSA|DSA|EC))|\.signature\.p7s"
    rb"|package/services/digital-signature/.*",
    re.IGNORECASE | re.DOTALL,
)
# Its lines have the digests of all other members.
WHEEL_RECORD = b".dist-info/RECORD"


class _Revision(NamedTuple):
    """What a member is to hold instead. packed: as it stands in the file."""

    member: Member
    contents: bytes
    revised: bytes
    packed: bytes


def _matches(head: bytes, tail: bytes, name: str) -> bool:
    return (head.startswith(LOCAL_MAGIC) or END_MAGIC in tail) and not head.startswith(JMOD)


def edits(data: Data, conditions: Conditions, inflation: Inflation | None = None) -> Sequence[Edit]:
    """Return the edits. inflation: how compressed members are looked into; None: they are not."""
    if data[:4] in (JMOD, SIGNED_EXTENSION):
        raise Declined("a module of the JDK, or a signed extension")
    layout = parsed(data)
    _check_names({member.central.name for member in layout.members})
    made: list[Edit] = []
    for member in layout.members:
        for header in (member.local, member.central):
            made += _time_edits(data, header, conditions)
    revisions = _revisions(data, layout, conditions, inflation)
    if revisions:
        made += _revision_edits(layout, revisions)
    return changes(data, made)


def _check_names(names: set[bytes]) -> None:
    if any(SIGNATURE.fullmatch(name) for name in names):
        raise Declined("it is signed")
    kinds = {name.rpartition(b".")[2] for name in names}
    if b"class" in kinds and kinds & {b"clj", b"cljc"}:
        raise Declined("Clojure loads the newer of a source and a class")
    if b"pyc" in kinds and any(name + b"c" in names for name in names if name.endswith(b".py")):
        raise Declined("Python compares the time of a source with the one in its .pyc")


def _time_edits(data: Data, header: Header, conditions: Conditions) -> Iterator[Edit]:
    at = header.time
    seconds = _dos_seconds(data[at : at + 4])
    if seconds is not None and conditions.written(seconds):
        yield Edit(at, at + 4, DOS_EPOCH)
    for kind, start, end in extras(data, header.extra):
        if kind == NTFS_TIMES:
            yield from _ntfs_edits(data, start, end, conditions)
        places = range(0)
        if kind == TIMES:  # a byte of flags, and up to three times
            places = range(start + 1, end - 3, 4)
        elif kind in (OLD_TIMES, PKWARE_TIMES):  # two times, then owners
            places = range(start, min(end, start + 8) - 3, 4)
        for place in places:
            if conditions.written(int.from_bytes(data[place : place + 4], "little", signed=True)):
                yield Edit(place, place + 4, EPOCH.to_bytes(4, "little"))


@lru_cache(maxsize=1024)
def _dos_seconds(stamp: bytes) -> int | None:
    """Return seconds since 1970, as if it were in UTC; None if it is no time."""
    time, date = struct.unpack("<2H", stamp)
    try:
        return timegm(
            (
                1980 + (date >> 9),
                date >> 5 & 15,
                date & 31,
                time >> 11,
                time >> 5 & 63,
                2 * (time & 31),
            )
        )
    except ValueError:
        return None


def _ntfs_edits(data: Data, start: int, end: int, conditions: Conditions) -> Iterator[Edit]:
    """Yield the edits of an NTFS field: 4 bytes, then attributes; number 1 has three times."""
    at = start + 4
    while at + 4 <= end:
        kind, size = struct.unpack_from("<2H", data, at)
        if kind == 1 and at + 4 + size <= end:
            for place in range(at + 4, at + 4 + size - 7, 8):
                time = int.from_bytes(data[place : place + 8], "little")
                if conditions.written(time / 10_000_000 - 11_644_473_600):
                    yield Edit(place, place + 8, NTFS_EPOCH.to_bytes(8, "little"))
        at += 4 + size


def _revisions(
    data: Data, layout: Layout, conditions: Conditions, inflation: Inflation | None
) -> list[_Revision]:
    """Return what is to be done inside of members."""
    if any(member.central.name.endswith(WHEEL_RECORD) for member in layout.members):
        return []
    found = []
    for member in layout.members:
        name = member.central.name.decode(errors="replace")
        contents = _contents(data, member, name, inflation)
        inside = conditions.member(contents, name) if contents else ()
        if not contents or not inside:
            continue
        revised = applied(contents, inside)
        packed: bytes | None = revised
        if member.central.method == DEFLATED and inflation is not None:
            packed = inflation.again(data, member.start, member.end, contents, revised)
        if packed is not None:
            found.append(_Revision(member, contents, revised, packed))
    return _allowed(data, layout, found, inflation) if found else []


def _contents(
    data: Data, member: Member, name: str, inflation: Inflation | None, *, peek: bool = True
) -> bytes | None:
    """Return a member's contents; None if they cannot be had, or with `peek` hold nothing known."""
    if member.central.size.value > MAX_MEMBER_BYTES:
        return None
    if member.central.method == STORED:
        contents: bytes | None = data[member.start : member.end]
    elif (
        member.central.method != DEFLATED
        or inflation is None
        or (peek and not inflation.worthwhile(data, member.start, member.end, name))
    ):
        return None
    else:
        contents = inflation.inflated(data, member.start, member.end)
    if contents is not None and zlib.crc32(contents) != member.central.crc.value:
        raise Declined("a member's checksum is wrong")
    return contents


def _allowed(
    data: Data, layout: Layout, revisions: list[_Revision], inflation: Inflation | None
) -> list[_Revision]:
    """Return those whose digest no member holds, and that move no member that is stored.

    Stored members are aligned by some (Android, by pages), and mapped from where they are.
    """
    search = Search([traces(revision.contents) for revision in revisions])
    mentioned: set[int] = set()
    for member in layout.members:
        name = member.central.name.decode(errors="replace")
        contents = _contents(data, member, name, inflation, peek=False)
        if contents is None:
            return []  # it cannot be told what stands there
        mentioned |= search.found(contents)
    stored = [m.start for m in layout.members if m.central.method == STORED and m.end > m.start]
    last_stored = max(stored, default=0)
    return [
        revision
        for index, revision in enumerate(revisions)
        if index not in mentioned
        and (
            len(revision.packed) == revision.member.end - revision.member.start
            or revision.member.start > last_stored
        )
    ]


def _revision_edits(layout: Layout, revisions: Sequence[_Revision]) -> Iterator[Edit]:
    """Yield the edits of members' bytes, their checksums and sizes, and of all later offsets."""
    ends = [revision.member.end for revision in revisions]
    moved = [0]
    for member, _, revised, packed in revisions:
        yield Edit(member.start, member.end, packed)
        moved.append(moved[-1] + len(packed) - (member.end - member.start))
        told = (zlib.crc32(revised), len(packed), len(revised))
        for header in (member.local, member.central):
            # Where the local header leaves them to the descriptor, they are 0 in it and stay so.
            for number, value in zip((header.crc, header.packed, header.size), told, strict=True):
                if number.value or not member.descriptor:
                    yield _number_edit(number, value)
        for number, value in zip(member.descriptor, told, strict=False):
            yield _number_edit(number, value)
    places = [(member.offset, member.local.at) for member in layout.members]
    places += [(number, number.value + layout.shift) for number in layout.offsets]
    for number, place in places:
        yield _number_edit(number, number.value + moved[bisect_right(ends, place)])


def _number_edit(number: Number, value: int) -> Edit:
    if value.bit_length() > 8 * number.width:
        raise Declined("a number does not fit")
    return Edit(number.at, number.at + number.width, value.to_bytes(number.width, "little"))


FORMAT = Format(
    name="zip",
    version=1,
    harmless=True,
    rewrites="Times that lie in the action's window, read as UTC, become 1980-01-01 00:00:00: DOS "
    "times of local headers and of the directory, extended (UT, UX, PKWARE Unix) and NTFS times in "
    "extra fields. Members of known formats, compressed again where the encoder is recognised.",
    standard="PKWARE APPNOTE.TXT 6.3.10, sections 4.3 to 4.6; Info-ZIP's extra fields.",
    preserves="Names, order, attributes, offsets and contents stay; what stands before the archive "
    "is not touched. Times are no part of what `unzip -t` or a class loader checks.",
    declines="Encrypted or signed archives, several disks, jmods, gaps or overlaps, headers that "
    "disagree; jars with Clojure's sources and classes, and Python's sources beside their .pyc, "
    "since their times are compared. Members of wheels, whose digests are recorded.",
    matches=_matches,
    edits=edits,
)
