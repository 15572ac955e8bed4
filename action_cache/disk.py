"""Results and pins in the index of a disk store, in one transaction with its blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import astuple
from hashlib import blake2b
from itertools import islice

import msgspec

from action_cache.results import ActionKey, Kept, Origin, Pin, ResultStore, Slot
from cas.digest import Digest
from cas.disk_index import DiskIndex, digest_of, key_of
from cas.environment import Database, Environment, Read

INSTANCE_BYTES = 16  # of the hash of an instance name, which starts a key
PINS_AT_ONCE = 256  # read in one snapshot while all pins are listed


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    """A Kept, as it is written. references: keys of blobs."""

    serialised: bytes
    references: list[bytes]


class _Origin(msgspec.Struct, frozen=True, array_like=True):
    """An Origin, as it is written: what is left out at its end is not known."""

    program: str = ""
    target: str = ""
    mnemonic: str = ""
    invocation: str = ""
    toolchain: str = ""
    rules: str = ""


class _Pin(msgspec.Struct, frozen=True, array_like=True):
    """A Pin, as it is written. Fields that came later have defaults, so that old records open."""

    instance: str
    entry: _Entry
    first_seen: float
    last_seen: float
    revision: int
    agreements: int
    conflicts: int
    losses: int
    origin: _Origin = _Origin()


_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(_Entry).decode
_decode_pin = msgspec.msgpack.Decoder(_Pin).decode


class DiskResults(ResultStore):
    """See docs/storage.md for the layout. dropped: entries that went with a blob of theirs."""

    def __init__(self, environment: Environment, index: DiskIndex) -> None:
        self._environment = environment
        self._index = index
        self._results: Database = environment.database("results")
        self._referrers: Database = environment.database("referrers", duplicates=True)
        self._pins: Database = environment.database("pins")
        self.dropped = 0
        index.on_drop(self._drop_referrers)

    async def find(self, key: ActionKey) -> Kept | None:
        with self._environment.read() as read:
            return self._entry(read, _packed(key))

    async def change(self, key: ActionKey, decide: Callable[[Slot], Slot]) -> Slot:
        packed = _packed(key)

        def change(write: Read) -> Slot:
            pin = self._pin(write, packed)
            intact = pin is not None and self._all_there(write, pin.kept.references)
            before = Slot(self._entry(write, packed), pin, intact)
            after = decide(before)
            if after.entry != before.entry:
                self._put(write, packed, after.entry)
            if after.pin != before.pin:
                self._put_pin(write, key, after.pin)
                self._mark(write, packed, before.pin, after.pin)
            return after

        return await self._environment.write(change)

    async def pin(self, key: ActionKey) -> Pin | None:
        with self._environment.read() as read:
            return self._pin(read, _packed(key))

    async def pins(self, instance: str | None = None) -> AsyncIterator[tuple[ActionKey, Pin]]:
        prefix = b"" if instance is None else _packed_instance(instance)
        after = prefix
        while batch := self._pins_after(after):
            for packed, kept in batch:
                if not packed.startswith(prefix):
                    return
                stored = _decode_pin(kept)
                action = digest_of(packed[INSTANCE_BYTES:])
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
        return _kept_from(_decode_entry(found)) if found else None

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
            entry = _entry_of(kept)
            write.put(packed, _encode(entry), db=self._results)
            for blob in entry.references:
                write.put(blob, packed, db=self._referrers)

    def _put_pin(self, write: Read, key: ActionKey, pin: Pin | None) -> None:
        if pin is None:
            write.delete(_packed(key), db=self._pins)
            return
        stored = _Pin(
            instance=key.instance,
            entry=_entry_of(pin.kept),
            first_seen=pin.first_seen,
            last_seen=pin.last_seen,
            revision=pin.revision,
            agreements=pin.agreements,
            conflicts=pin.conflicts,
            losses=pin.losses,
            origin=_Origin(*astuple(pin.origin)),
        )
        write.put(_packed(key), _encode(stored), db=self._pins)

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


def _packed(key: ActionKey) -> bytes:
    """Return a key of fixed order: instance (16 bytes of its BLAKE2b), then the blob's key."""
    return _packed_instance(key.instance) + key_of(key.action)


def _packed_instance(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=INSTANCE_BYTES).digest()


def _irreproducible(pin: Pin | None) -> frozenset[Digest]:
    """Return what only this pin's blobs hold: another run was seen to give something else."""
    return pin.kept.references if pin is not None and pin.conflicts else frozenset()


def _entry_of(kept: Kept) -> _Entry:
    return _Entry(kept.serialised, sorted(key_of(digest) for digest in kept.references))


def _kept_from(entry: _Entry) -> Kept:
    return Kept(entry.serialised, frozenset(digest_of(key) for key in entry.references))


def _pin_from(stored: _Pin) -> Pin:
    return Pin(
        kept=_kept_from(stored.entry),
        first_seen=stored.first_seen,
        last_seen=stored.last_seen,
        revision=stored.revision,
        agreements=stored.agreements,
        conflicts=stored.conflicts,
        losses=stored.losses,
        origin=Origin(*msgspec.structs.astuple(stored.origin)),
    )
