"""Which bytes of two byte strings differ."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

CHUNK_BYTES = 1 << 20
_DIFFERENT = re.compile(rb"[^\0]+(?:\0{1,3}[^\0]+)*")  # equal bytes between: joined up to 3
_STRINGS = re.compile(rb"[\t\x20-\x7e]{4,}")
MAX_STRING_BYTES = 4 << 20  # of each side, in which strings are looked for


class Span(NamedTuple):
    """Bytes start to end (not included) of the first that stand for others of the second."""

    start: int
    end: int
    then_start: int
    then_end: int


def spans(first: bytes, then: bytes, limit: int) -> list[Span]:
    """Return where `then` differs from `first`, at most `limit` places.

    For unequal lengths: the one stretch between what both begin and end with.
    Time: linear, a chunk at a time; memory: three chunks.
    """
    if len(first) != len(then):
        start = _common_start(first, then)
        tail = _common_end(first, then, min(len(first), len(then)) - start)
        return [Span(start, len(first) - tail, start, len(then) - tail)]
    found: list[Span] = []
    for at in range(0, len(first), CHUNK_BYTES):
        one, other = first[at : at + CHUNK_BYTES], then[at : at + CHUNK_BYTES]
        if one == other:
            continue
        for match in _DIFFERENT.finditer(_changed(one, other)):
            start, end = at + match.start(), at + match.end()
            if found and found[-1].end == start:  # goes on from the chunk before
                start = found.pop().start
            if len(found) == limit:
                return found
            found.append(Span(start, end, start, end))
    return found


def _changed(one: bytes, other: bytes) -> bytes:
    """Return, for two strings of one length, bytes that are 0 where they are equal."""
    both = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return both.to_bytes(len(one), "little")


def _common_start(first: bytes, then: bytes) -> int:
    length = min(len(first), len(then))
    for at in range(0, length, CHUNK_BYTES):
        end = min(at + CHUNK_BYTES, length)
        one, other = first[at:end], then[at:end]
        if one != other:
            return at + len(one) - len(_changed(one, other).lstrip(b"\0"))
    return length


def _common_end(first: bytes, then: bytes, most: int) -> int:
    for at in range(0, most, CHUNK_BYTES):
        size = min(CHUNK_BYTES, most - at)
        one = first[len(first) - at - size : len(first) - at]
        other = then[len(then) - at - size : len(then) - at]
        if one != other:
            return at + size - len(_changed(one, other).rstrip(b"\0"))
    return most


def changed_strings(first: bytes, then: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    """Pair the printable strings that only one of both has, in their order, at most `limit`."""
    ours = Counter(_STRINGS.findall(first[:MAX_STRING_BYTES]))
    theirs = Counter(_STRINGS.findall(then[:MAX_STRING_BYTES]))
    pairs = zip(list(ours - theirs), list(theirs - ours), strict=False)
    return [pair for pair, _ in zip(pairs, range(limit), strict=False)]


def printable_around(data: bytes, start: int, end: int, most: int) -> tuple[int, int]:
    """Return start and end of the printable run that holds `data[start:end]`.

    At most `most` bytes more on either side; the same start and end where it is not printable.
    """
    if not printable(data[start:end]):
        return start, end
    low, high = start, end
    while low > max(0, start - most) and printable(data[low - 1 : low]):
        low -= 1
    while high < min(len(data), end + most) and printable(data[high : high + 1]):
        high += 1
    return low, high


def printable(data: bytes) -> bool:
    return data.isascii() and data.replace(b"\t", b" ").decode("ascii").isprintable()
