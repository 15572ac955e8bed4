"""Members that stand in their container as they are, and how they are rewritten there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from determinism.format import Conditions, Data, Edit
from determinism.guards import Search, traces

MAX_MEMBER_BYTES = 128 << 20  # larger ones are left: a member is held in memory


class _Member(NamedTuple):
    data: bytes
    start: int
    edits: Sequence[Edit]


class Members:
    """Collects the edits of the members of one container.

    Only edits of equal length are made: nothing behind a member may move. A member whose digest is
    written anywhere in its container is left: checksums of what was packed are packed beside it.
    """

    def __init__(self, container: Data, conditions: Conditions) -> None:
        """Look at no member yet."""
        self._container = container
        self._conditions = conditions
        self._rewritten: list[_Member] = []

    def look(self, start: int, end: int, name: str) -> None:
        """Take the member that is the container's bytes from `start` to `end`."""
        if not 0 < end - start <= MAX_MEMBER_BYTES:
            return
        data = self._container[start:end]
        edits = self._conditions.member(data, name)
        if edits and all(len(edit.new) == edit.end - edit.start for edit in edits):
            self._rewritten.append(_Member(data, start, edits))

    def edits(self) -> Iterator[Edit]:
        """Yield what is to be done in the container, member by member."""
        if not self._rewritten:
            return
        search = Search([traces(member.data) for member in self._rewritten])
        mentioned = search.found(self._container)
        for index, member in enumerate(self._rewritten):
            if index not in mentioned:
                for start, end, new in member.edits:
                    yield Edit(member.start + start, member.start + end, new)


def changes(data: Data, edits: Sequence[Edit]) -> list[Edit]:
    """Return those of `edits` that change anything, in their order."""
    return sorted(edit for edit in edits if data[edit.start : edit.end] != edit.new)
