"""Results that only their writers are answered with, in the index of a disk store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import groupby, islice

import msgspec

from action_cache.disk_records import (
    NAME_BYTES,
    Entry,
    StoredOrigin,
    action_in,
    encode,
    entry_of,
    kept_from,
    origin_from,
    packed_key,
    packed_name,
    stored_origin,
)
from action_cache.results import ActionKey, Proposal
from cas.environment import Database, Environment, Read

READ_AT_ONCE = 256  # in one snapshot while all are listed
GONE_AT_ONCE = 100  # at the most for one that comes, where the bounds were lowered
_ALL = bytes(NAME_BYTES)  # stands for every writer
_US = 1_000_000  # microseconds in a second


@dataclass(frozen=True, slots=True)
class ProposalLimits:
    """How many proposals are kept, of one writer and of all; the oldest give way."""

    per_writer: int = 10_000
    in_all: int = 100_000


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """A Proposal, as it is written."""

    instance: str
    writer: str
    entry: Entry
    proposed: float
    comparable: bool
    origin: StoredOrigin = StoredOrigin()


_decode = msgspec.msgpack.Decoder(_Stored).decode


class DiskProposals:
    """See docs/storage.md for the layout.

    expired: those that gave way to others, or went with a blob of theirs. Methods that take a
    transaction are for DiskResults, whose changes these belong to.
    """

    def __init__(self, environment: Environment, limits: ProposalLimits) -> None:
        self._environment = environment
        self._limits = limits
        self._proposals: Database = environment.database("proposals")
        self._referrers: Database = environment.database("proposal_referrers", duplicates=True)
        self._order: Database = environment.database("proposal_order")
        self.expired = 0

    def count(self) -> int:
        with self._environment.read() as read:
            return self._count(read, _ALL)

    async def find(self, key: ActionKey, writer: str) -> Proposal | None:
        """Return what `writer` proposes for `key`."""
        with self._environment.read() as read:
            found = read.get(packed_key(key) + packed_name(writer), db=self._proposals)
        return _proposal_from(_decode(found)) if found else None

    async def by_action(
        self, instance: str | None = None
    ) -> AsyncIterator[tuple[ActionKey, tuple[Proposal, ...]]]:
        """Yield what is proposed for each action of `instance`, of all instances if it is None.

        What comes and goes meanwhile may be left out.
        """
        prefix = b"" if instance is None else packed_name(instance)
        start = prefix
        while actions := self._actions_from(start, prefix):
            for packed in actions:
                with self._environment.read() as read:
                    records = [_decode(value) for _, value in self._records(read, packed)]
                if records:
                    key = ActionKey(records[0].instance, action_in(packed))
                    yield key, _sorted(records)
            start = actions[-1] + b"\xff" * NAME_BYTES + b"\0"
            await asyncio.sleep(0)  # nobody else is held up, however many there are

    def _actions_from(self, start: bytes, prefix: bytes) -> list[bytes]:
        """Return the packed keys of some actions from `start` on."""
        with self._environment.read() as read, read.cursor(db=self._proposals) as cursor:
            if not cursor.set_range(start):
                return []
            keys = islice(cursor.iternext(keys=True, values=False), READ_AT_ONCE)
            return [
                action
                for action, _ in groupby(keys, key=lambda key: key[:-NAME_BYTES])
                if action.startswith(prefix)
            ]

    def of(self, read: Read, packed: bytes) -> tuple[Proposal, ...]:
        """Return what is proposed for an action, the oldest first. packed: its key."""
        if not read.stat(self._proposals)["entries"]:
            return ()
        return _sorted([_decode(value) for _, value in self._records(read, packed)])

    def change(
        self,
        write: Read,
        key: ActionKey,
        before: tuple[Proposal, ...],
        after: tuple[Proposal, ...],
    ) -> None:
        """Keep `after` in place of `before`; those over the bounds go."""
        packed = packed_key(key)
        added = [new for new in after if new not in before]
        for gone in before:
            if gone not in after:
                self._remove(write, packed + packed_name(gone.writer))
                self.expired += any(new.writer != gone.writer for new in added)
        for new in added:
            self._put(write, key, packed + packed_name(new.writer), new)
            self._make_room(write, packed_name(new.writer), self._limits.per_writer)
            self._make_room(write, _ALL, self._limits.in_all)

    def drop_referrers(self, write: Read, blob: bytes) -> None:
        """Drop the proposals that refer to a blob that goes."""
        if not write.stat(self._proposals)["entries"]:
            return
        with write.cursor(db=self._referrers) as cursor:
            referrers = list(cursor.iternext_dup()) if cursor.set_key(blob) else []
        for packed in referrers:
            self._remove(write, packed)
        self.expired += len(referrers)

    def _records(self, read: Read, packed: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of what is proposed for an action."""
        with read.cursor(db=self._proposals) as cursor:
            if cursor.set_range(packed):
                for key, value in cursor:
                    if key[:-NAME_BYTES] != packed:
                        return
                    yield key, value

    def _put(self, write: Read, key: ActionKey, packed: bytes, new: Proposal) -> None:
        entry = entry_of(new.kept)
        stored = _Stored(
            instance=key.instance,
            writer=new.writer,
            entry=entry,
            proposed=new.proposed,
            comparable=new.comparable,
            origin=stored_origin(new.origin),
        )
        write.put(packed, encode(stored), db=self._proposals)
        for blob in entry.references:
            write.put(blob, packed, db=self._referrers)
        for whose, place in _places(packed, new.proposed):
            write.put(place, b"", db=self._order)
            self._add(write, whose, 1)

    def _remove(self, write: Read, packed: bytes) -> None:
        found = write.get(packed, db=self._proposals)
        if found is None:
            return
        stored = _decode(found)
        for blob in stored.entry.references:
            write.delete(blob, packed, db=self._referrers)
        for whose, place in _places(packed, stored.proposed):
            write.delete(place, db=self._order)
            self._add(write, whose, -1)
        write.delete(packed, db=self._proposals)

    def _make_room(self, write: Read, whose: bytes, most: int) -> None:
        for _ in range(min(self._count(write, whose) - most, GONE_AT_ONCE)):
            with write.cursor(db=self._order) as cursor:
                cursor.set_range(whose + b"\0")  # behind their number
                oldest = cursor.key()[NAME_BYTES + 8 :]
            self._remove(write, oldest)
            self.expired += 1

    def _count(self, read: Read, whose: bytes) -> int:
        return int.from_bytes(read.get(whose, b"", db=self._order), "big")

    def _add(self, write: Read, whose: bytes, more: int) -> None:
        count = self._count(write, whose) + more
        if count:
            write.put(whose, count.to_bytes(8, "big"), db=self._order)
        else:
            write.delete(whose, db=self._order)


def _places(packed: bytes, proposed: float) -> list[tuple[bytes, bytes]]:
    """Return where a proposal stands in the order of its writer's, and in that of all."""
    behind = round(proposed * _US).to_bytes(8, "big") + packed
    return [(whose, whose + behind) for whose in (packed[-NAME_BYTES:], _ALL)]


def _sorted(records: list[_Stored]) -> tuple[Proposal, ...]:
    return tuple(
        _proposal_from(each) for each in sorted(records, key=lambda one: (one.proposed, one.writer))
    )


def _proposal_from(stored: _Stored) -> Proposal:
    return Proposal(
        writer=stored.writer,
        kept=kept_from(stored.entry),
        proposed=stored.proposed,
        comparable=stored.comparable,
        origin=origin_from(stored.origin),
    )
