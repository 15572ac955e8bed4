"""cpio: when its members were changed, and the numbers that a file system gave them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from determinism.format import Conditions, Data, Declined, Edit, Format
from determinism.members import Members, changes

NEW, NEW_WITH_SUMS, OLD = b"070701", b"070702", b"070707"
TRAILER = b"TRAILER!!!"
MAX_NAME_BYTES = 1 << 16
REGULAR, KIND = 0o100000, 0o170000


class _Layout(NamedTuple):
    """Where a header's fields stand. base: of its numbers. align: of names and contents."""

    base: int
    header_bytes: int
    align: int
    inode: slice
    devices: tuple[slice, ...]
    mode: slice
    mtime: slice
    name_size: slice
    size: slice


def _eight(number: int) -> slice:
    return slice(6 + 8 * number, 14 + 8 * number)


_NEW = _Layout(
    base=16,
    header_bytes=110,
    align=4,
    inode=_eight(0),
    mode=_eight(1),
    mtime=_eight(5),
    size=_eight(6),
    devices=(_eight(7), _eight(8)),
    name_size=_eight(11),
)
_OLD = _Layout(
    base=8,
    header_bytes=76,
    align=1,
    devices=(slice(6, 12),),
    inode=slice(12, 18),
    mode=slice(18, 24),
    mtime=slice(48, 59),
    name_size=slice(59, 65),
    size=slice(65, 76),
)
_LAYOUTS = {NEW: _NEW, NEW_WITH_SUMS: _NEW, OLD: _OLD}


class _Entry(NamedTuple):
    """start: of the header. contents, end: of the file's bytes."""

    start: int
    header: bytes
    name: bytes
    contents: int
    end: int


def _matches(head: bytes, tail: bytes, name: str) -> bool:
    return head[:6] in _LAYOUTS


def _edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    magic = data[:6]
    layout = _LAYOUTS.get(magic)
    if layout is None:
        raise Declined("not a header")
    edits: list[Edit] = []
    within = Members(data, conditions)
    numbers: dict[tuple[int, ...], int] = {}
    for entry in _entries(data, magic, layout):
        edits += _header_edits(entry, layout, numbers, conditions)
        mode = _number(entry.header, layout.mode, layout.base)
        # The sum of a member's bytes stands in its header where there are sums.
        if magic != NEW_WITH_SUMS and mode & KIND == REGULAR:
            within.look(entry.contents, entry.end, entry.name.decode(errors="replace"))
    edits += within.edits()
    return changes(data, edits)


def _entries(data: Data, magic: bytes, layout: _Layout) -> Iterator[_Entry]:
    """Yield the entries; raise Declined unless they, a trailer and zeros are all that there is."""
    at = 0
    while True:
        header = data[at : at + layout.header_bytes]
        if len(header) < layout.header_bytes or header[:6] != magic:
            raise Declined(f"there is no header at byte {at}")
        name_size = _number(header, layout.name_size, layout.base)
        named = at + layout.header_bytes
        contents = _aligned(named + name_size, layout)
        end = contents + _number(header, layout.size, layout.base)
        if not 0 < name_size <= MAX_NAME_BYTES or end > len(data):
            raise Declined("a name has no length, or the last entry is cut short")
        name = data[named : named + name_size]
        if name[-1:] != b"\0":
            raise Declined("a name does not end")
        name = name[:-1]
        if name == TRAILER:
            break
        yield _Entry(at, header, name, contents, end)
        at = _aligned(end, layout)
    if any(
        data[start : start + (1 << 20)].strip(b"\0") for start in range(end, len(data), 1 << 20)
    ):
        raise Declined("something stands behind its end")


def _aligned(at: int, layout: _Layout) -> int:
    return -(-at // layout.align) * layout.align


def _number(header: bytes, field: slice, base: int) -> int:
    try:
        return int(header[field], base)
    except ValueError:
        raise Declined("a header's field is no number") from None


def _header_edits(
    entry: _Entry, layout: _Layout, numbers: dict[tuple[int, ...], int], conditions: Conditions
) -> Iterator[Edit]:
    """Yield the edits of a header. numbers: the new number of each device and inode so far."""
    fields = (*layout.devices, layout.inode)
    key = tuple(_number(entry.header, field, layout.base) for field in fields)
    number = numbers.setdefault(key, len(numbers) + 1)
    yield _field(entry, layout.inode, number, layout)
    for field in layout.devices:
        yield _field(entry, field, 0, layout)
    if conditions.written(_number(entry.header, layout.mtime, layout.base)):
        yield _field(entry, layout.mtime, 0, layout)


def _field(entry: _Entry, field: slice, number: int, layout: _Layout) -> Edit:
    width = field.stop - field.start
    text = f"{number:0{width}X}" if layout is _NEW else f"{number:0{width}o}"
    if len(text) > width:
        raise Declined("it has more files than numbers for them")
    return Edit(entry.start + field.start, entry.start + field.stop, text.encode())


FORMAT = Format(
    name="cpio",
    version=1,
    harmless=False,
    rewrites="Inodes are numbered from 1 in the order of their first appearance, devices become 0, "
    "and so do times that lie in the action's window. Members of known formats, at equal length, "
    "unless there are sums of their bytes (070702).",
    standard="cpio(5): new ASCII format, new CRC format; POSIX.1-2017, pax, cpio interchange "
    "format.",
    preserves="Device and inode only say which names are links to one file: those that were the "
    "same still are, and no others.",
    declines="Archives joined together, other bytes than zeros behind the trailer, binary formats.",
    matches=_matches,
    edits=_edits,
)
