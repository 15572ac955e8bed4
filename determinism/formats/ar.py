"""ar: when its members were written, by whom, and with which permissions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from determinism.format import Conditions, Data, Declined, Edit, Format
from determinism.members import Members, changes

NORMAL, THIN = b"!<arch>\n", b"!<thin>\n"
HEADER_BYTES = 60
NAME, DATE, USER, GROUP, MODE, SIZE = (
    slice(0, 16),
    slice(16, 28),
    slice(28, 34),
    slice(34, 40),
    slice(40, 48),
    slice(48, 58),
)
END = b"`\n"
INDEXES = (b"/", b"/SYM64/")
LONG_NAMES = b"//"
BSD_NAME = b"#1/"  # the name stands before the contents, and the number says how long it is
# Who reads these compares something of the archive with what stands elsewhere.
BSD_INDEX = b"__.SYMDEF"  # the linker compares its time with the file's own
RUST_METADATA = b"lib.rmeta"  # crates that use it have its hash
SIGNATURE = b"_gpg"  # a signed Debian package
DEBIAN = b"debian-binary"  # checksums of what data.tar holds stand in control.tar
OWNER_EXECUTES = 0o100


class _Member(NamedTuple):
    """start: of the header. contents, end: of what is the member's own, without a BSD name."""

    name: bytes
    start: int
    contents: int
    end: int


def _matches(head: bytes, tail: bytes, name: str) -> bool:
    return head.startswith((NORMAL, THIN))


def _edits(data: Data, conditions: Conditions) -> Sequence[Edit]:
    members = list(_members(data))
    if any(member.name.startswith(BSD_INDEX) for member in members):
        raise Declined("the time of a BSD archive's index is compared with the file's")
    if any(member.name.startswith((RUST_METADATA, SIGNATURE)) for member in members):
        raise Declined("it is a Rust library, or signed")
    edits: list[Edit] = []
    if any(conditions.written(_number(data, member, DATE, 10) or 0) for member in members):
        for member in members:
            edits += _header_edits(data, member, conditions)
    if data[: len(NORMAL)] == NORMAL and not any(member.name == DEBIAN for member in members):
        within = Members(data, conditions)
        for member in members:
            if not member.name.startswith(b"/"):
                within.look(member.contents, member.end, member.name.decode(errors="replace"))
        edits += within.edits()
    return changes(data, edits)


def _members(data: Data) -> Iterator[_Member]:
    """Yield the members; raise Declined unless there is nothing else."""
    is_thin = data[: len(THIN)] == THIN
    names = b""
    at = len(NORMAL)
    while at < len(data):
        header = data[at : at + HEADER_BYTES]
        if len(header) < HEADER_BYTES or header[-2:] != END:
            raise Declined(f"there is no header at byte {at}")
        name, size = header[NAME].rstrip(b" "), _size(header)
        contents = at + HEADER_BYTES
        # A thin archive holds its own tables, and of its members the names alone.
        end = contents if is_thin and name not in (*INDEXES, LONG_NAMES) else contents + size
        if end > len(data):
            raise Declined("the last member is cut short")
        start_of_own = contents
        if name == LONG_NAMES:
            names = data[contents:end]
        elif name.startswith(BSD_NAME):
            start_of_own, name = _bsd_name(data, name, contents, end)
        elif name.startswith(b"/") and name not in INDEXES:
            name = _long_name(name, names)
        yield _Member(name.removesuffix(b"/") or name, at, start_of_own, end)
        at = end
        if end % 2 and data[end : end + 1] not in (b"", b"\n"):
            raise Declined("a member is not padded")
        at += end % 2


def _size(header: bytes) -> int:
    text = header[SIZE].rstrip(b" ")
    if not text.isdigit():
        raise Declined("a size is no number")
    return int(text)


def _bsd_name(data: Data, name: bytes, contents: int, end: int) -> tuple[int, bytes]:
    digits = name.removeprefix(BSD_NAME)
    if not digits.isdigit() or contents + int(digits) > end:
        raise Declined("a name has no length")
    start = contents + int(digits)
    return start, data[contents:start].rstrip(b"\0")


def _long_name(name: bytes, names: bytes) -> bytes:
    """Return what `/OFFSET`, or `/OFFSET:WHERE` in a thin archive, stands for."""
    digits = name[1:].partition(b":")[0]
    if not digits.isdigit() or int(digits) >= len(names):
        raise Declined("a member of an unknown kind")
    return names[int(digits) :].partition(b"\n")[0]


def _number(data: Data, member: _Member, field: slice, base: int) -> int | None:
    """Return a field of a header; None where it is blank, as in the table of names."""
    text = data[member.start + field.start : member.start + field.stop].rstrip(b" ")
    if not text:
        return None
    try:
        return int(text, base)
    except ValueError:
        raise Declined("a header's field is no number") from None


def _header_edits(data: Data, member: _Member, conditions: Conditions) -> Iterator[Edit]:
    """Yield what makes a header as `ar D` writes it, but for the owner's right to execute.

    Blank fields stay blank, and a time that is not the action's is kept.
    """
    time = _number(data, member, DATE, 10)
    if time is not None and conditions.written(time):
        yield _field(member, DATE, b"0")
    for field in (USER, GROUP):
        if _number(data, member, field, 10) is not None:
            yield _field(member, field, b"0")
    mode = _number(data, member, MODE, 8)
    if mode:
        yield _field(member, MODE, b"755" if mode & OWNER_EXECUTES else b"644")


def _field(member: _Member, field: slice, text: bytes) -> Edit:
    width = field.stop - field.start
    return Edit(member.start + field.start, member.start + field.stop, text.ljust(width))


FORMAT = Format(
    name="ar",
    version=1,
    harmless=True,
    rewrites="In an archive with a member, or an index, whose time lies in the action's window: "
    "such times become 0, owners 0, permissions 644 (755 for what its owner may execute). "
    "Members of known formats, at equal length.",
    standard="System V ar as GNU binutils writes it: /usr/include/ar.h, and bfd's thin archives.",
    preserves="It is what `ar D` writes. Linkers read names, sizes and contents, and the index "
    "holds offsets, which stay; no member is moved.",
    declines="A BSD index (`__.SYMDEF`), whose time is compared; Rust libraries; signed packages; "
    "members of a Debian package; anything that does not wholly parse.",
    matches=_matches,
    edits=_edits,
)
