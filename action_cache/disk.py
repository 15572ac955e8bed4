"""Results and pins in the index of a disk store, in one transaction with its blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice

import msgspec

from action_cache.disk_proposals import DiskProposals, ProposalLimits
from action_cache.disk_records import (
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
from action_cache.results import ActionKey, Kept, Pin, ResultStore, Slot
from cas.digest import Digest, DigestFunction
from cas.disk_index import DiskIndex, key_of, prefix_of
from cas.environment import Database, Environment, Read

PINS_AT_ONCE = 256  # read in one snapshot while all pins are listed


class _Pin(msgspec.Struct, frozen=True, array_like=True):
    """A Pin, as it is written. Fields that came later have defaults, so that old records open."""

    instance: str
    entry: Entry
    first_seen: float
    last_seen: float
    revision: int
    agreements: int
    conflicts: int
    losses: int
    origin: StoredOrigin = StoredOrigin()


_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_pin = msgspec.msgpack.Decoder(_Pin).decode


class DiskResults(ResultStore):
    """See docs/storage.md for the layout.

    dropped: entries that went with a blob of theirs. proposals: what only its writers are answered
    with. limits: on those.
    """

    def __init__(
        self,
        environment: Environment,
        index: DiskIndex,
        limits: ProposalLimits = ProposalLimits(),  # noqa: B008 - it is frozen
    ) -> None:
        self._environment = environment
        self._index = index
        self._results: Database = environment.database("results")
        self._referrers: Database = environment.database("referrers", duplicates=True)
        self._pins: Database = environment.database("pins")
        self.proposals = DiskProposals(environment, limits)
        self.dropped = 0
        index.on_drop(self._drop_referrers)
        index.on_drop(self.proposals.drop_referrers)

    async def find(self, key: ActionKey) -> Kept | None:
        with self._environment.read() as read:
            return self._entry(read, packed_key(key))

    def named(self, instance: str, function: DigestFunction, hash: str) -> ActionKey | None:
        """Return the key of an entry by its action's hash: no size is known.

        Of several, which only clients that upload no Actions can make, that of the largest size.
        """
        prefix = packed_name(instance) + prefix_of(function, hash)
        found: bytes | None = None
        with self._environment.read() as read, read.cursor(db=self._results) as cursor:
            if cursor.set_range(prefix):
                for packed in cursor.iternext(keys=True, values=False):
                    if not packed.startswith(prefix):
                        break
                    found = packed
        return ActionKey(instance, action_in(found)) if found else None

    async def change(self, key: ActionKey, decide: Callable[[Slot], Slot]) -> Slot:
        packed = packed_key(key)

        def change(write: Read) -> Slot:
            pin = self._pin(write, packed)
            intact = pin is not None and self._all_there(write, pin.kept.references)
            proposals = self.proposals.of(write, packed)
            before = Slot(self._entry(write, packed), pin, intact, proposals)
            after = decide(before)
            if after.entry != before.entry:
                self._put(write, packed, after.entry)
            if after.pin != before.pin:
                self._put_pin(write, key, after.pin)
                self._mark(write, packed, before.pin, after.pin)
            if after.proposals != proposals:
                self.proposals.change(write, key, proposals, after.proposals)
            return after

        return await self._environment.write(change)

    async def pin(self, key: ActionKey) -> Pin | None:
        with self._environment.read() as read:
            return self._pin(read, packed_key(key))

    async def pins(self, instance: str | None = None) -> AsyncIterator[tuple[ActionKey, Pin]]:
        prefix = b"" if instance is None else packed_name(instance)
        after = prefix
        while batch := self._pins_after(after):
            for packed, kept in batch:
                if not packed.startswith(prefix):
                    return
                stored = _decode_pin(kept)
                action = action_in(packed)
                yield ActionKey(stored.instance, action), _pin_from(stored)
            after = batch[-1][0] + b"\0"
            await asyncio.sleep(0)  # nobody else is held up, however many pins there are

    def count_pins(self) -> int:
        with self._environment.read() as read:
            return read.stat(self._pins)["entries"]

    def _pins_after(self, start: bytes) -> list[tuple[bytes, bytes]]:
        with self._environment.read() as read, read.cursor(db=self._pins) as cursor:
            return list(islice(cursor, PINS_AT_ONCE)) if cursor.set_range(start) else []

    def _entry(self, read: Read, packed: bytes) -> Kept | None:
        found = read.get(packed, db=self._results)
        return kept_from(_decode_entry(found)) if found else None

    def _pin(self, read: Read, packed: bytes) -> Pin | None:
        found = read.get(packed, db=self._pins)
        return _pin_from(_decode_pin(found)) if found else None

    def _all_there(self, read: Read, references: Iterable[Digest]) -> bool:
        return all(
            digest.size == 0 or self._index.get(read, key_of(digest)) for digest in references
        )

    def _put(self, write: Read, packed: bytes, kept: Kept | None) -> None:
        self._drop(write, packed)
        if kept is not None:
            entry = entry_of(kept)
            write.put(packed, encode(entry), db=self._results)
            for blob in entry.references:
                write.put(blob, packed, db=self._referrers)

    def _put_pin(self, write: Read, key: ActionKey, pin: Pin | None) -> None:
        if pin is None:
            write.delete(packed_key(key), db=self._pins)
            return
        stored = _Pin(
            instance=key.instance,
            entry=entry_of(pin.kept),
            first_seen=pin.first_seen,
            last_seen=pin.last_seen,
            revision=pin.revision,
            agreements=pin.agreements,
            conflicts=pin.conflicts,
            losses=pin.losses,
            origin=stored_origin(pin.origin),
        )
        write.put(packed_key(key), encode(stored), db=self._pins)

    def _mark(self, write: Read, packed: bytes, before: Pin | None, after: Pin | None) -> None:
        """Have what an irreproducible pin refers to evicted last, and no longer what it did."""
        old, new = _irreproducible(before), _irreproducible(after)
        for digest in old - new:
            self._index.unmark(write, key_of(digest), packed)
        # All of them at each conflict: a pin of an older store has conflicts, and no marks yet.
        again = before is None or after is None or before.conflicts != after.conflicts
        for digest in new if again else new - old:
            self._index.mark(write, key_of(digest), packed)

    def _drop(self, write: Read, packed: bytes) -> None:
        found = write.get(packed, db=self._results)
        if found is None:
            return
        for blob in _decode_entry(found).references:
            write.delete(blob, packed, db=self._referrers)
        write.delete(packed, db=self._results)

    def _drop_referrers(self, write: Read, blob: bytes) -> None:
        """Drop the entries that refer to a blob that goes."""
        with write.cursor(db=self._referrers) as cursor:
            referrers = list(cursor.iternext_dup()) if cursor.set_key(blob) else []
        for packed in referrers:
            self._drop(write, packed)
        self.dropped += len(referrers)


def _irreproducible(pin: Pin | None) -> frozenset[Digest]:
    """Return what only this pin's blobs hold: another run was seen to give something else."""
    return pin.kept.references if pin is not None and pin.conflicts else frozenset()


def _pin_from(stored: _Pin) -> Pin:
    return Pin(
        kept=kept_from(stored.entry),
        first_seen=stored.first_seen,
        last_seen=stored.last_seen,
        revision=stored.revision,
        agreements=stored.agreements,
        conflicts=stored.conflicts,
        losses=stored.losses,
        origin=origin_from(stored.origin),
    )
