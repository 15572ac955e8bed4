"""What a canonical form is made of: formats, and edits to the bytes of a file."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Data = bytes | mmap.mmap
"""The whole of a file, or of a member of one. Both kinds have `find` and slices that are bytes."""


class Declined(ValueError):
    """A file is left as it is: it does not wholly parse, or a guard forbids it. Says why."""


class Edit(NamedTuple):
    """Replace the bytes from `start` to `end` (which is not included) by `new`."""

    start: int
    end: int
    new: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a format may go by.

    begun, ended: seconds since 1970 between which the action wrote, widened by the grain of clocks:
    no other time is touched. root: absolute path at which the action saw its input root.
    seen_root: the path that it really had, where that is another one (no sandbox), else "".
    in_inputs: tells whether these bytes stand in an input of the action.
    member: returns the edits of a member's bytes, by its own format, to a bounded depth; the second
    argument is its name. It returns nothing for what is of no known format, and for what declines.
    """

    begun: float
    ended: float
    root: str
    seen_root: str
    in_inputs: Callable[[bytes], bool]
    member: Callable[[bytes, str], Sequence[Edit]]

    def written(self, seconds: float) -> bool:
        """Tell whether a time, in seconds since 1970, lies in the action's window."""
        return self.begun <= seconds <= self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of file, recognised by its content, and its canonical form.

    name: as it is configured, counted and recorded. version: rises when the form changes.
    harmless: whether it is applied unasked; else once a program's outputs of it were seen to
    differ, or where it is configured.
    rewrites, preserves, declines: for people: what is rewritten, why behaviour is the same, when a
    file is left alone. standard: where the format is laid down.
    matches: tells from the first HEAD_BYTES, the last TAIL_BYTES and the name whether a file is
    to be looked at; cheap, and may be wrong.
    edits: returns the edits that make a file canonical, in their order and without overlap; those
    of a canonical file are none. Raises Declined. Pure; bounded in time and memory by the file's
    size.
    """

    name: str
    version: int
    harmless: bool
    rewrites: str
    standard: str
    preserves: str
    declines: str
    matches: Callable[[bytes, bytes, str], bool]
    edits: Callable[[Data, Conditions], Sequence[Edit]]


HEAD_BYTES = 512
TAIL_BYTES = 512


def applied(data: Data, edits: Sequence[Edit]) -> bytes:
    """Return `data` with `edits` made."""
    parts: list[bytes] = []
    at = 0
    for edit in edits:
        parts += (data[at : edit.start], edit.new)
        at = edit.end
    parts.append(data[at:])
    return b"".join(parts)
