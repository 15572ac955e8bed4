"""The canonical form of one file's bytes: by the formats that know it, members included."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from determinism.deflate import Budget, Inflation
from determinism.format import (
    HEAD_BYTES,
    TAIL_BYTES,
    Conditions,
    Data,
    Declined,
    Edit,
    Format,
    applied,
)
from determinism.guards import Traces, traces
from determinism.registry import INFLATING

MAX_DEPTH = 3  # a member of a member of a member is looked at, and no deeper
# What a parser may meet in bytes that are not what they seem. Such files are left, like declined.
_UNPARSED = (ArithmeticError, LookupError, ValueError, struct.error)


def recognised(formats: Sequence[Format], head: bytes, tail: bytes, name: str) -> list[Format]:
    """Return those of `formats` that look at such a file."""
    return [format for format in formats if format.matches(head, tail, name)]


def no_members(data: bytes, name: str) -> Sequence[Edit]:
    """Look into nothing: the last level of Conditions.member."""
    return ()


@dataclass(slots=True)
class Revision:
    """What becomes of one file.

    formats: by whose rules it changes, the outermost first, then those of members. edits: to be
    made one after another; whole: or all of the new bytes, where their number changed. ranges,
    bytes: how many are replaced. inner: how the members that change may be mentioned, in
    hexadecimal and base64. declined: format and reason.
    """

    formats: tuple[str, ...] = ()
    edits: list[Edit] = field(default_factory=list)
    whole: bytes | None = None
    ranges: int = 0
    bytes: int = 0
    inner: list[Traces] = field(default_factory=list)
    declined: list[tuple[str, str]] = field(default_factory=list)

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that this takes."""
        edited = sum(len(edit.new) + 200 for edit in self.edits)
        return edited + (len(self.whole) if self.whole is not None else 0)


@dataclass(slots=True)
class _Reviser:
    """Revises one file and its members. used: depths and formats that changed something."""

    formats: Sequence[Format]
    conditions: Conditions
    revision: Revision
    with_traces: bool
    budget: Budget = field(default_factory=Budget)
    used: list[tuple[int, str]] = field(default_factory=list)

    def edits(self, format: Format, data: Data, depth: int) -> Sequence[Edit]:
        """Return the edits by one format; none where it declines."""
        member = partial(self.member, depth + 1) if depth < MAX_DEPTH else no_members
        conditions = replace(self.conditions, member=member)
        mark = len(self.used)
        try:
            if format.name in INFLATING and depth < MAX_DEPTH:
                inflating = INFLATING[format.name]
                inflation = Inflation(
                    recognised=self._is_recognised,
                    encoders=inflating.encoders(),
                    budget=self.budget,
                )
                edits = inflating.edits(data, conditions, inflation)
            else:
                edits = format.edits(data, conditions)
        except _UNPARSED as error:
            if depth == 0:
                said = str(error) if isinstance(error, Declined) else f"not parsed: {error}"
                self.revision.declined.append((format.name, said))
            edits = ()
        if edits:
            self.used.append((depth, format.name))
        else:
            del self.used[mark:]  # of members whose edits were not taken
        return edits

    def _is_recognised(self, head: bytes, name: str) -> bool:
        return bool(recognised(self.formats, head, b"", name))

    def member(self, depth: int, data: bytes, name: str) -> Sequence[Edit]:
        """Return the edits of a member: Conditions.member."""
        revised, edits = data, list[Edit]()
        for format in recognised(self.formats, data[:HEAD_BYTES], data[-TAIL_BYTES:], name):
            more = self.edits(format, revised, depth)
            # Of a second format they have other places: all bytes are given then.
            revised = applied(revised, more)
            edits = [Edit(0, len(data), revised)] if edits and more else edits + list(more)
        if edits and self.with_traces:
            self.revision.inner.append(traces(data)._replace(raw=()))
        return edits


def revise(
    data: Data,
    name: str,
    formats: Sequence[Format],
    conditions: Conditions,
    *,
    within: Sequence[Format],
    whole: bool = False,
    with_traces: bool = False,
) -> Revision:
    """Return the revision of a file by `formats`, which recognise it, one after another.

    data: its bytes; a mapping has to be private, since edits are made in it. name: its path among
    the outputs. conditions: what formats may go by; `member` is replaced. within: formats that its
    members may be of. whole: whether all new bytes are wanted even where their number stays.
    with_traces: whether Revision.inner is.
    """
    revision = Revision()
    reviser = _Reviser(within, conditions, revision, with_traces)
    for format in formats:
        edits = reviser.edits(format, data, 0)
        if not edits:
            continue
        revision.ranges += len(edits)
        revision.bytes += sum(max(len(new), end - start) for start, end, new in edits)
        same_length = all(len(new) == end - start for start, end, new in edits)
        data = _changed(data, edits, in_place=same_length)
        if same_length and revision.whole is None:
            revision.edits += edits
        else:
            revision.edits.clear()
            revision.whole = data[:]
    if whole:
        revision.whole = data[:]
    revision.formats = tuple(dict.fromkeys(name for _, name in sorted(reviser.used, key=_depth)))
    return revision


def _depth(used: tuple[int, str]) -> int:
    return used[0]


def _changed(data: Data, edits: Sequence[Edit], *, in_place: bool) -> Data:
    if not in_place or isinstance(data, bytes):
        return applied(data, edits)
    for start, end, new in edits:
        data[start:end] = new
    return data
