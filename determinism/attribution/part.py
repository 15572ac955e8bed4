"""What a file is made of, for telling where two of them differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Part(NamedTuple):
    """A named stretch of a file.

    start, end: where it stands in the file, end not included; both 0 where that is not known.
    data: what it holds: those bytes, or what they hold compressed.
    derived: whether it follows from other parts, as checksums and offsets do: a difference in it
    says nothing of its own.
    """

    name: str
    start: int
    end: int
    data: bytes
    derived: bool = False


class Unreadable(ValueError):
    """A file is not of the format that it began like."""


Split = Callable[[bytes, int], list[Part]]
"""Takes a file apart. Its second argument is how many bytes may be decompressed at most. Raises
Unreadable, or struct.error where the file ends too soon."""

MAX_PARTS = 100_000  # of one file


def stretch(name: str, data: bytes, start: int, end: int, *, derived: bool = False) -> Part:
    """Return the part of `data` from `start` to `end`. Raises Unreadable if it has no such part."""
    if not 0 <= start <= end <= len(data):
        raise Unreadable(f"{name}: {start} to {end} of {len(data)} bytes")
    return Part(name, start, end, data[start:end], derived)


def with_gaps(data: bytes, parts: list[Part], name: str) -> list[Part]:
    """Add the stretches of `data` that lie between and around `parts`."""
    gaps: list[Part] = []
    at = 0
    for start, end in sorted((part.start, part.end) for part in parts):
        if at < start:
            gaps.append(Part(f"{name} at {at}", at, start, data[at:start], derived=True))
        at = max(at, end)
    if at < len(data):
        gaps.append(Part(f"{name} at {at}", at, len(data), data[at:], derived=True))
    return parts + gaps
