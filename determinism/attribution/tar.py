"""tar archives by member and header field.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block".
"""

from __future__ import annotations

from determinism.attribution.part import MAX_PARTS, Part, Unreadable, stretch

MAGIC_AT, MAGIC = 257, b"ustar"
_BLOCK = 512
_FIELDS = (("mode", 100, 108), ("uid", 108, 116), ("gid", 116, 124), ("mtime", 136, 148),
           ("type", 156, 157), ("link target", 157, 257), ("owner", 265, 297), ("group", 297, 329),
           ("device", 329, 345), ("rest of header", 345, 512))  # fmt: skip
_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_NAMELESS = {_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK}


def split(data: bytes, most: int) -> list[Part]:
    """Take apart an archive; what extends a header is named for the member that it belongs to."""
    parts: list[Part] = []
    pending: list[tuple[bytes, int, int]] = []
    at = 0
    while any(data[at : at + _BLOCK]) and len(parts) < MAX_PARTS:
        if data[at + MAGIC_AT : at + MAGIC_AT + len(MAGIC)] != MAGIC:
            raise Unreadable("no member header")
        kind, size = data[at + 156 : at + 157], _size(data[at + 124 : at + 136])
        body = at + _BLOCK
        if kind in _NAMELESS:
            pending.append((kind, at, body + size))
        else:
            name = _name(data, at, pending)
            parts += _extensions(data, name, pending)
            pending = []
            parts += [stretch(f"{name}: {what}", data, at + one, at + end)
                      for what, one, end in _FIELDS]  # fmt: skip
            parts.append(stretch(name, data, body, body + size))
        at = body + size + -size % _BLOCK
    return parts


def _extensions(data: bytes, name: str, pending: list[tuple[bytes, int, int]]) -> list[Part]:
    parts: list[Part] = []
    for _, at, end in pending:
        parts += [
            stretch(f"{name}: header of its extended header", data, at, at + 148),
            stretch(f"{name}: extended header", data, at + _BLOCK, end),
        ]
    return parts


def _name(data: bytes, at: int, pending: list[tuple[bytes, int, int]]) -> str:
    for kind, start, end in pending:
        body = data[start + _BLOCK : end]
        if kind == _LONG_NAME:
            return body.rstrip(b"\0").decode(errors="replace")
        if kind == _EXTENDED and (found := body.find(b" path=")) >= 0:
            return body[found + 6 : body.find(b"\n", found)].decode(errors="replace")
    prefix, name = (
        data[at + one : at + end].split(b"\0")[0] for one, end in ((345, 500), (0, 100))
    )
    return b"/".join(filter(None, (prefix, name))).decode(errors="replace")


def _size(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: base 256
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise Unreadable(f"no size: {field!r}") from None
