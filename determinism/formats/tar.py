"""tar: when its members were last changed, read, and created."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from determinism.format import Conditions, Data, Declined, Edit, Format
from determinism.members import Members, changes

BLOCK_BYTES = 512
MAGIC = slice(257, 262)
USTAR = b"ustar"
GNU = b"ustar  \0"
NAME, SIZE, MTIME, CHECKSUM, TYPE, PREFIX = (
    slice(0, 100),
    slice(124, 136),
    slice(136, 148),
    slice(148, 156),
    slice(156, 157),
    slice(345, 500),
)
GNU_TIMES = (slice(345, 357), slice(357, 369))  # when it was read and when its inode changed
GNU_SPARSE_CONTINUES = 482  # in a header of type S; in the blocks behind it, CONTINUES
CONTINUES = 504
WITH_CONTENTS = b"07xgLKSD\0"
WITHOUT = b"123456V"
PLAIN = b"07\0"
PAX, PAX_GLOBAL, LONG_LINK, LONG_NAME, SPARSE = b"x", b"g", b"K", b"L", b"S"
MAX_RECORDS_BYTES = 1 << 20  # of one extended header
PAX_TIMES = (b"mtime", b"atime", b"ctime", b"LIBARCHIVE.creationtime")
PAX_TIME = re.compile(rb"\d{1,15}(\.\d{1,15})?")
# Images' configurations hold the digests of the archives that are packed beside them.
WITH_DIGESTS = ("manifest.json", "oci-layout", "index.json")


class _Entry(NamedTuple):
    """start: of the header. contents: where what it describes begins, and size: its bytes.

    header: its BLOCK_BYTES. records: of a pax header, what stands in it.
    """

    start: int
    header: bytes
    contents: int
    size: int

    @property
    def kind(self) -> bytes:
        return self.header[TYPE]

    @property
    def behind(self) -> int:
        return self.contents + -(-self.size // BLOCK_BYTES) * BLOCK_BYTES


class _Record(NamedTuple):
    r"""A record of a pax header. text: all of it, `LENGTH KEY=VALUE\n`."""

    text: bytes
    key: bytes
    value: bytes

    def with_value(self, value: bytes) -> bytes:
        """Return the record with another value; the new one has 10 to 99 bytes, or as many."""
        if len(value) == len(self.value):
            return self.text[: -1 - len(value)] + value + b"\n"
        body = b" " + self.key + b"=" + value + b"\n"
        return b"%d" % (len(body) + 2) + body


def _matches(head: bytes, tail: bytes, name: str) -> bool:
    return head[MAGIC] == USTAR


def _edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    edits: list[Edit] = []
    plain: list[tuple[int, int, str]] = []
    for entry in _entries(data):
        if entry.kind in (PAX, PAX_GLOBAL):
            edits += _pax_edits(data, entry, conditions)
            continue
        edits += _header_edits(entry, _times(entry, conditions))
        if entry.kind in PLAIN:
            name = entry.header[NAME].partition(b"\0")[0].decode(errors="replace")
            plain.append((entry.contents, entry.contents + entry.size, name))
    if not any(name.removeprefix("./") in WITH_DIGESTS for _, _, name in plain):
        within = Members(data, conditions)
        for start, end, name in plain:
            within.look(start, end, name)
        edits += within.edits()
    return changes(data, edits)


def _entries(data: Data) -> Iterator[_Entry]:
    """Yield the entries; raise Declined unless they and zeros are all that there is."""
    at, told_size = 0, None
    while any(header := data[at : at + BLOCK_BYTES]):
        if len(header) < BLOCK_BYTES or header[MAGIC] != USTAR:
            raise Declined(f"there is no header at byte {at}")
        if _sum(header) != _octal(header, CHECKSUM):
            raise Declined(f"the checksum of the header at byte {at} is wrong")
        kind = header[TYPE]
        size = _octal(header, SIZE)
        if kind not in (PAX, PAX_GLOBAL, LONG_LINK, LONG_NAME) and told_size is not None:
            size, told_size = told_size, None
        if kind not in WITH_CONTENTS and (size or kind not in WITHOUT):
            raise Declined(f"an entry of type {kind!r}")
        entry = _Entry(at, header, _contents(data, at, header), size)
        if entry.behind > len(data):
            raise Declined("the last entry is cut short")
        if kind in (PAX, PAX_GLOBAL):
            told_size = _told_size(data, entry, told_size)
        yield entry
        at = entry.behind
    _check_end(data, at)


def _contents(data: Data, at: int, header: bytes) -> int:
    """Return where the entry's contents begin: behind its header, and the map of what is sparse."""
    behind = at + BLOCK_BYTES
    continues = header[TYPE] == SPARSE and header[GNU_SPARSE_CONTINUES] != 0
    while continues:
        behind += BLOCK_BYTES
        if behind > len(data):
            raise Declined("the last entry is cut short")
        continues = data[behind - BLOCK_BYTES + CONTINUES] != 0
    return behind


def _check_end(data: Data, at: int) -> None:
    if len(data) - at < 2 * BLOCK_BYTES or len(data) % BLOCK_BYTES:
        raise Declined("it does not end in two blocks of zeros")
    for start in range(at, len(data), 1 << 20):
        if any(data[start : start + (1 << 20)].lstrip(b"\0")[:1]):
            raise Declined("something stands behind its end")


def _sum(header: bytes) -> int:
    """Return the sum of a header's bytes, its checksum counted as spaces."""
    return sum(header) - sum(header[CHECKSUM]) + 8 * ord(" ")


def _octal(header: bytes, field: slice) -> int:
    """Return a number: octal digits, or, GNU's way, 0x80 and the number big-endian."""
    raw = header[field]
    if raw[0] & 0x80:
        if raw[0] != 0x80:  # noqa: PLR2004  of a negative number
            raise Declined("a number is negative")
        return int.from_bytes(raw[1:], "big")
    digits = raw.partition(b"\0")[0].strip(b" ")
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise Declined("a number has no octal digits") from None


def _times(entry: _Entry, conditions: Conditions) -> Iterator[Edit]:
    """Yield what makes 0 of those times of a header that the action wrote; places are in it."""
    fields = (MTIME, *(GNU_TIMES if entry.header[257:265] == GNU else ()))
    for field in fields:
        raw = entry.header[field]
        if any(raw) and conditions.written(_octal(entry.header, field)):
            zero = b"\x80".ljust(len(raw), b"\0") if raw[0] & 0x80 else _zeros(raw)
            yield Edit(field.start, field.stop, zero)


def _zeros(text: bytes) -> bytes:
    return re.sub(rb"\d", b"0", text)


def _header_edits(entry: _Entry, edits: Iterable[Edit]) -> Iterator[Edit]:
    """Yield `edits`, moved from the header's start to the file's, and the checksum after them."""
    header = bytearray(entry.header)
    for start, end, new in edits:
        header[start:end] = new
        yield Edit(entry.start + start, entry.start + end, new)
    if header != entry.header:
        # Writers differ in how they end the number, and all but keep room for six digits.
        old = entry.header[CHECKSUM]
        width = len(old.rstrip(b"\0 "))
        text = b"%0*o" % (width, _sum(bytes(header)))
        if len(text) > width:
            raise Declined("the checksum has no room")
        start = entry.start + CHECKSUM.start
        yield Edit(start, start + len(old), text + old[width:])


def _records(data: Data, entry: _Entry) -> Iterator[_Record]:
    """Yield the records of a pax header; raise Declined unless they are all that it holds."""
    if entry.size > MAX_RECORDS_BYTES:
        raise Declined(f"an extended header of more than {MAX_RECORDS_BYTES} bytes")
    text = data[entry.contents : entry.contents + entry.size]
    at = 0
    while at < len(text):
        digits, space, _ = text[at : at + 8].partition(b" ")
        end = at + int(digits) if digits.isdigit() else 0
        key, equals, value = text[at + len(digits) + 1 : end - 1].partition(b"=")
        if not (space and equals and at < end <= len(text) and text[end - 1 : end] == b"\n"):
            raise Declined("a record of an extended header does not parse")
        yield _Record(text[at:end], key, value)
        at = end


def _told_size(data: Data, entry: _Entry, otherwise: int | None) -> int | None:
    """Return the size that a pax header tells of the entry behind it."""
    for record in _records(data, entry):
        if record.key == b"size":
            if not record.value.isdigit() or entry.kind == PAX_GLOBAL:
                raise Declined("a size that is told ahead is no number, or is for all")
            otherwise = int(record.value)
    return otherwise


def _pax_edits(data: Data, entry: _Entry, conditions: Conditions) -> Iterator[Edit]:
    """Yield what makes 0 of the times in a pax header, and of its own.

    A time has no digits at its end that are 0, so that headers of two runs differ in size: all
    times that the action wrote are given one length, as long as blocks stay as many.
    """
    own = list(_times(entry, conditions))
    records = list(_records(data, entry))
    if any(_is_written(record, conditions) for record in records):
        room = entry.behind - entry.contents
        text = _with_times(records, conditions, lambda value: b"0")
        if not 0 <= room - len(text) < BLOCK_BYTES:
            text = _with_times(records, conditions, _zeros)
        own += _size_edits(entry, len(text))
        yield Edit(entry.contents, entry.behind, text.ljust(room, b"\0"))
    yield from _header_edits(entry, own)


def _size_edits(entry: _Entry, size: int) -> Iterator[Edit]:
    old = entry.header[SIZE]
    if old[0] & 0x80:
        raise Declined("the size of an extended header is not octal")
    width = len(old.rstrip(b"\0 "))
    yield Edit(SIZE.start, SIZE.stop, b"%0*o" % (width, size) + old[width:])


def _with_times(
    records: Sequence[_Record], conditions: Conditions, instead: Callable[[bytes], bytes]
) -> bytes:
    """Return the contents of a pax header, the times that the action wrote given by `instead`."""
    return b"".join(
        record.with_value(instead(record.value)) if _is_written(record, conditions) else record.text
        for record in records
    )


def _is_written(record: _Record, conditions: Conditions) -> bool:
    return (
        record.key in PAX_TIMES
        and PAX_TIME.fullmatch(record.value) is not None
        and conditions.written(float(record.value))
    )


FORMAT = Format(
    name="tar",
    version=1,
    harmless=True,
    rewrites="Times that lie in the action's window become 0: of headers, of GNU's and pax's "
    "extended headers. Members of known formats, at equal length. Owners stay: the sandbox runs "
    "every action as the same user.",
    standard="POSIX.1-2017, pax, ustar and pax interchange formats; GNU tar manual, "
    "Basic Tar Format.",
    preserves="Names, links, owners, permissions and contents are the same, in the same order; "
    "only how old a member is said to be changes, from one moment of the action to 1970.",
    declines="Entries of unknown types, archives in volumes, trailing bytes other than zeros, "
    "wrong checksums. Members of an image of a container, since their digests are packed with it.",
    matches=_matches,
    edits=_edits,
)
