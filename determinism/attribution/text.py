"""Text by line."""

from __future__ import annotations

import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import islice
from typing import NamedTuple

MAX_ALIGNED_LINES = (
    1000  # of each text, once what both begin and end with is off: time is quadratic
)
MAX_BYTES = 16 << 20  # of text that is compared by line
MAX_PERMUTED_BYTES = 2 << 20  # of text in which words are counted
_SLACK_BYTES = 8  # between words: the last of a list has no comma
_HEAD_BYTES = 65536
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
_TOKEN = re.compile(rb"[\w./+@-]+")


class Hunk(NamedTuple):
    """Lines that differ. start, end: bytes of the first text. line: number of the first, from 1."""

    line: int
    start: int
    end: int
    first: bytes
    then: bytes
    reordered: bool

    @property
    def named(self) -> str:
        count = self.first.count(b"\n", 0, -1) + 1
        return f"lines {self.line}-{self.line + count - 1}" if count > 1 else f"line {self.line}"


def is_text(data: bytes) -> bool:
    """Tell whether the data's beginning has no control characters but those of layout."""
    head = data[:_HEAD_BYTES]
    return bool(head) and head.translate(None, _CONTROL) == head


def hunks(first: bytes, then: bytes, limit: int) -> list[Hunk]:
    """Return which lines differ, in the order of the first text, at most `limit` times.

    One hunk for all between what both begin and end with, where the same lines, or about the same,
    stand there in another order; and where there are too many of them and not as many in both.
    """
    ours, theirs = first.splitlines(keepends=True), then.splitlines(keepends=True)
    head = _common(ours, theirs)
    tail = _common(ours[head:][::-1], theirs[head:][::-1])
    ours, theirs = ours[: len(ours) - tail], theirs[: len(theirs) - tail]
    starts = [0]
    for line in ours:
        starts.append(starts[-1] + len(line))

    def hunk(i: int, i_end: int, j: int, j_end: int) -> Hunk:
        one, other = b"".join(ours[i:i_end]), b"".join(theirs[j:j_end])
        return Hunk(i + 1, starts[i], starts[i_end], one, other, permuted(one, other))

    whole = hunk(head, len(ours), head, len(theirs))
    count, then_count = len(ours) - head, len(theirs) - head
    if whole.reordered and count > 1:
        return [whole]
    if count == then_count:
        pairs = [i for i in range(head, len(ours)) if ours[i] != theirs[i]]
        if count > MAX_ALIGNED_LINES or len(pairs) == count:
            return [hunk(i, i + 1, i, i + 1) for i in pairs[:limit]]
    if max(count, then_count) > MAX_ALIGNED_LINES:
        return [whole]
    matcher = SequenceMatcher(None, ours[head:], theirs[head:], autojunk=False)
    changed = (code[1:] for code in matcher.get_opcodes() if code[0] != "equal")
    return [
        hunk(head + i, head + i_end, head + j, head + j_end)
        for i, i_end, j, j_end in islice(changed, limit)
    ]


def permuted(first: bytes, then: bytes) -> bool:
    """Tell whether both hold the same words, two or more, in another order."""
    if abs(len(first) - len(then)) > _SLACK_BYTES or len(first) > MAX_PERMUTED_BYTES:
        return False
    ours, theirs = _TOKEN.findall(first), _TOKEN.findall(then)
    return len(ours) > 1 and ours != theirs and Counter(ours) == Counter(theirs)


def _common(ours: list[bytes], theirs: list[bytes]) -> int:
    count = 0
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        count += 1
    return count
