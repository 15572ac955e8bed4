"""ar, thin ar, and cpio archives by member and header field.

Source: ar(5), the GNU and BSD variants; cpio(5), "New ASCII Format".
"""

from __future__ import annotations

import re

from determinism.attribution.part import MAX_PARTS, Part, Unreadable, stretch

AR, THIN = b"!<arch>\n", b"!<thin>\n"
CPIO = b"070701"
_AR_HEADER, _CPIO_HEADER = 60, 110
_FIELDS = (("mtime", 16, 28), ("uid", 28, 34), ("gid", 34, 40), ("mode", 40, 48))
_CPIO_FIELDS = ("inode", "mode", "uid", "gid", "nlink", "mtime", "size", "dev major", "dev minor",
                "rdev major", "rdev minor", "name size", "check")  # fmt: skip
_LONG = re.compile(rb"/(\d+)")


def split_ar(data: bytes, most: int) -> list[Part]:
    """Take apart an archive into header fields and members; those of thin ones have no data."""
    parts: list[Part] = []
    thin, names = data.startswith(THIN), b""
    at = len(AR)
    while at < len(data):
        if data[at + 58 : at + 60] != b"`\n" or len(parts) > MAX_PARTS:
            raise Unreadable("no member header")
        size = _number(data[at + 48 : at + 58], 10)
        named = data[at : at + 16].rstrip()
        index = named in {b"/", b"//", b"/SYM64/"}
        stored = 0 if thin and not index else size
        start = at + _AR_HEADER
        body = stretch("", data, start, start + stored)
        if named == b"//":
            names = body.data
        name, skipped = _ar_name(named, body.data, names)
        parts += [
            stretch(f"{name}: {what}", data, at + one, at + end) for what, one, end in _FIELDS
        ]
        parts.append(stretch(name, data, start + skipped, start + stored, derived=index))
        at = start + stored + stored % 2
    return parts


def _ar_name(named: bytes, body: bytes, names: bytes) -> tuple[str, int]:
    """Return a member's name, and how many bytes of its data the name takes."""
    if named in {b"/", b"/SYM64/"}:
        return "symbol index", 0
    if named == b"//":
        return "names", 0
    if named.startswith(b"#1/"):
        size = _number(named[3:], 10)
        return body[:size].rstrip(b"\0").decode(errors="replace"), min(size, len(body))
    if long := _LONG.fullmatch(named):
        at = int(long[1])
        named = names[at : names.find(b"\n", at)]
    return named.removesuffix(b"/").decode(errors="replace"), 0


def split_cpio(data: bytes, most: int) -> list[Part]:
    """Take apart a "newc" archive into header fields and members."""
    parts: list[Part] = []
    at = 0
    while data[at : at + 6] == CPIO and len(parts) < MAX_PARTS:
        starts = range(at + 6, at + _CPIO_HEADER, 8)
        values = [_number(data[start : start + 8], 16) for start in starts]
        size, name_size = values[6], values[11]
        name_at = at + _CPIO_HEADER
        name = data[name_at : name_at + name_size].rstrip(b"\0").decode(errors="replace")
        parts += [
            stretch(f"{name}: {field}", data, start, start + 8)
            for field, start in zip(_CPIO_FIELDS, starts, strict=True)
        ]
        body = _aligned(name_at + name_size)
        parts.append(stretch(name, data, body, body + size))
        at = _aligned(body + size)
        if name == "TRAILER!!!":
            return parts
    raise Unreadable("no trailer")


def _aligned(at: int) -> int:
    return at + -at % 4


def _number(text: bytes, radix: int) -> int:
    try:
        number = int(text, radix)
    except ValueError:
        raise Unreadable(f"no number: {text!r}") from None
    if number < 0:
        raise Unreadable(f"a negative size: {number}")
    return number
