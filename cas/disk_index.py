"""What a disk store knows of its blobs: which there are, until when each is leased, checksums.

Every method takes the transaction it works in, so that a caller can join several into one.
docs/storage.md has the layout of each database.
"""

from __future__ import annotations

import struct
from binascii import a2b_hex, b2a_hex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import lmdb
from xxhash import xxh3_64_digest

from cas.digest import Digest, DigestFunction
from cas.environment import Database, Environment, Read

CHECKSUM_BYTES = 8
REMEMBERED_KEYS = 20_000  # about 400 bytes each

_CODES = {
    DigestFunction.SHA256: b"\x01",
    DigestFunction.SHA1: b"\x02",
    DigestFunction.MD5: b"\x03",
    DigestFunction.SHA384: b"\x05",
    DigestFunction.SHA512: b"\x06",
    DigestFunction.SHA256TREE: b"\x08",
    DigestFunction.BLAKE3: b"\x09",
    DigestFunction.GITSHA1: b"\x0a",
}
_FUNCTIONS = {code[0]: function for function, code in _CODES.items()}
_RECORD = struct.Struct(">IB")  # leased until (seconds since 1970), kind
_PACKED_RECORD = struct.Struct(">IBQ")  # the same, bytes of the file
_DUE = struct.Struct(">I")
_TOTALS = struct.Struct(">QQ")  # blobs, bytes
_PACKED_TOTALS = struct.Struct(">QQQ")  # blobs, bytes, bytes of their files
INLINE, FILE, PACKED = 0, 1, 2
_TOTALS_KEY, _PACKED_KEY = b"totals", b"packed"

Dropped = Callable[[Read, bytes], None]


class Due(NamedTuple):
    """Blobs whose lease has ended, by key: those that go, and those that are put off."""

    going: list[bytes]
    put_off: list[bytes]


class Record(NamedTuple):
    """What a store knows of one blob.

    until: when the lease ends, in seconds since 1970. kind: INLINE, FILE or PACKED, which is one
    zstd frame in a file. packed: bytes of that file, 0 for the others.
    """

    until: int
    kind: int
    packed: int = 0

    def to_bytes(self) -> bytes:
        return _PACKED_RECORD.pack(*self) if self.kind == PACKED else _RECORD.pack(*self[:2])


class Totals(NamedTuple):
    """What the store holds. bytes: as they are stored."""

    blobs: int
    bytes: int


class PackedTotals(NamedTuple):
    """What of that is packed. bytes: of the blobs. stored: of their files."""

    blobs: int
    bytes: int
    stored: int

    @property
    def saved(self) -> int:
        """Bytes that these blobs would take in addition if they were not packed."""
        return self.bytes - self.stored


@lru_cache(maxsize=REMEMBERED_KEYS)
def key_of(digest: Digest) -> bytes:
    """Return a blob's key: function (1 byte), hash, size (8 bytes, big-endian)."""
    return _CODES[digest.function] + a2b_hex(digest.hash) + digest.size.to_bytes(8, "big")


def prefix_of(function: DigestFunction, hash: str) -> bytes:
    """Return what the keys of all blobs of a function and a hash begin with."""
    return _CODES[function] + a2b_hex(hash)


def digest_of(key: bytes) -> Digest:
    return Digest(b2a_hex(key[1:-8]).decode(), int.from_bytes(key[-8:], "big"), _FUNCTIONS[key[0]])


def size_of(key: bytes) -> int:
    return int.from_bytes(key[-8:], "big")


def stored_bytes(key: bytes, record: Record) -> int:
    """Return what a blob counts in the store: the bytes of its file, where it has one."""
    return record.packed or size_of(key)


class DiskIndex:
    """The databases of a store's blobs, in `environment`."""

    def __init__(self, environment: Environment) -> None:
        self._blobs: Database = environment.database("blobs")
        self._data: Database = environment.database("data")
        self._sums: Database = environment.database("sums")
        self._due: Database = environment.database("due")
        self._due_last: Database = environment.database("due_last")
        self._marks: Database = environment.database("marks", duplicates=True)
        self._totals: Database = environment.database("totals")
        self._on_drop: list[Dropped] = []

    def on_drop(self, dropped: Dropped) -> None:
        """Call `dropped` with each blob that goes, in the transaction that removes it."""
        self._on_drop.append(dropped)

    def totals(self, read: Read) -> Totals:
        kept = read.get(_TOTALS_KEY, db=self._totals)
        return Totals(*_TOTALS.unpack(kept)) if kept else Totals(0, 0)

    def packed_totals(self, read: Read) -> PackedTotals:
        kept = read.get(_PACKED_KEY, db=self._totals)
        return PackedTotals(*_PACKED_TOTALS.unpack(kept)) if kept else PackedTotals(0, 0, 0)

    def get(self, read: Read, key: bytes) -> Record | None:
        kept = read.get(key, db=self._blobs)
        if kept is None:
            return None
        form = _RECORD if len(kept) == _RECORD.size else _PACKED_RECORD
        return Record(*form.unpack(kept))

    def named(self, read: Read, function: DigestFunction, hash: str) -> Digest | None:
        """Return the blob of a function and a hash, whatever its size."""
        prefix = prefix_of(function, hash)
        with read.cursor(db=self._blobs) as cursor:
            found = cursor.key() if cursor.set_range(prefix) else b""
        return digest_of(found) if found.startswith(prefix) else None

    def data(self, read: Read, key: bytes) -> bytes | None:
        """Return an inline blob; None if it is not there or its bytes have changed."""
        kept = read.get(key, db=self._data)
        if kept is None or xxh3_64_digest(data := kept[CHECKSUM_BYTES:]) != kept[:CHECKSUM_BYTES]:
            return None
        return data

    def join(
        self,
        view: lmdb.Transaction[memoryview],
        digests: Iterable[Digest],
        before: Callable[[Digest], bytes],
    ) -> tuple[bytes, list[Digest], list[Digest]]:
        """Return the inline ones of `digests` as one string; which they are; the others.

        before: what goes before each blob. As `data` for each, with one copy in place of three.
        """
        get, data_of = view.get, self._data
        parts: list[bytes | memoryview] = []
        found: list[Digest] = []
        others: list[Digest] = []
        for digest in digests:
            kept = get(key_of(digest), db=data_of)
            if (
                kept is None
                or xxh3_64_digest(data := kept[CHECKSUM_BYTES:]) != kept[:CHECKSUM_BYTES]
            ):
                others.append(digest)
            else:
                parts += (before(digest), data)
                found.append(digest)
        return b"".join(parts), found, others

    def sums(self, read: Read, key: bytes) -> bytes:
        """Return the checksums of a blob in a file, 8 bytes for each chunk."""
        return read.get(key, db=self._sums) or b""

    def put_inline(self, write: Read, blobs: Mapping[bytes, bytes], until: int) -> None:
        """Enter those of `blobs`, by key, that are not there; lease the others."""
        record = Record(until, INLINE)
        kept = record.to_bytes()
        due = _DUE.pack(until)
        new: list[bytes] = []
        for key, data in blobs.items():
            if write.put(key, kept, db=self._blobs, overwrite=False):
                write.put(key, xxh3_64_digest(data) + data, db=self._data)
                write.put(due + key, b"", db=self._due)
                new.append(key)
            else:
                self.lease(write, key, until)
        self._count(write, new, record, 1)

    def put_file(
        self, write: Read, key: bytes, sums: bytes, until: int, *, packed: int = 0
    ) -> None:
        """Enter a blob that is not there. packed: bytes of its file, where that is a frame."""
        record = Record(until, PACKED if packed else FILE, packed)
        write.put(key, sums, db=self._sums)
        write.put(key, record.to_bytes(), db=self._blobs)
        write.put(_DUE.pack(until) + key, b"", db=self._due)
        self._count(write, [key], record, 1)

    def lease(self, write: Read, key: bytes, until: int) -> bool:
        """Hold a blob until `until` at least; return False if it is not there."""
        record = self.get(write, key)
        if record is None:
            return False
        if record.until < until:
            self._undue(write, _DUE.pack(record.until) + key)
            write.put(_DUE.pack(until) + key, b"", db=self._due)
            write.put(key, record._replace(until=until).to_bytes(), db=self._blobs)
        return True

    def drop(self, write: Read, key: bytes) -> Record | None:
        """Forget a blob, and all that refers to it; return its record if it was there."""
        record = self.get(write, key)
        if record is None:
            return None
        write.delete(key, db=self._blobs)
        write.delete(key, db=self._data if record.kind == INLINE else self._sums)
        self._undue(write, _DUE.pack(record.until) + key)
        self._count(write, [key], record, -1)
        for dropped in self._on_drop:
            dropped(write, key)
        return record

    def mark(self, write: Read, key: bytes, by: bytes) -> None:
        """Have a blob go last, there or not, until it is unmarked. by: who wants that."""
        write.put(key, by, db=self._marks)

    def unmark(self, write: Read, key: bytes, by: bytes) -> None:
        """Take back what `mark` did for the same `by`; others' marks stay."""
        write.delete(key, by, db=self._marks)
        record = self.get(write, key)
        if record is None or write.get(key, db=self._marks) is not None:
            return
        due = _DUE.pack(record.until) + key
        if write.delete(due, db=self._due_last):
            write.put(due, b"", db=self._due)

    def due(self, read: Read, now: int, *, max_bytes: int, most: int) -> Due:
        """Choose what goes next of what is not leased, the earliest first, marked blobs last.

        max_bytes: no more is chosen once there are so many. most: bound on both lists together.
        Hand what is put off to `put_off`, and ask again: none is looked at twice then.
        """
        chosen = Due([], [])
        size = 0
        for key in self._ended(read, self._due, now):
            if size >= max_bytes or len(chosen.going) + len(chosen.put_off) == most:
                return chosen
            if read.get(key, db=self._marks) is not None:
                chosen.put_off.append(key)
            else:
                chosen.going.append(key)
                size += self._stored_bytes(read, key)
        if chosen.put_off:  # what is put off now may have been due before what was put off earlier
            return chosen
        for key in self._ended(read, self._due_last, now):
            if size >= max_bytes or len(chosen.going) == most:
                break
            if stored := self._stored_bytes(read, key):
                chosen.going.append(key)
                size += stored
        return chosen

    def put_off(self, write: Read, keys: Iterable[bytes]) -> None:
        """Have marked blobs that are due wait until nothing else is."""
        for key in keys:
            record = self.get(write, key)
            assert record is not None
            due = _DUE.pack(record.until) + key
            write.delete(due, db=self._due)
            write.put(due, b"", db=self._due_last)

    def _ended(self, read: Read, queue: Database, now: int) -> Iterator[bytes]:
        """Yield the keys of blobs whose lease has ended, the earliest first."""
        with read.cursor(db=queue) as cursor:
            for found in cursor.iternext(keys=True, values=False):
                if _DUE.unpack_from(found)[0] >= now:
                    return
                yield found[_DUE.size :]

    def _stored_bytes(self, read: Read, key: bytes) -> int:
        """As `stored_bytes`; 0 where a version that knows no marks dropped the blob."""
        record = self.get(read, key)
        return stored_bytes(key, record) if record else 0

    def _undue(self, write: Read, due: bytes) -> None:
        if not write.delete(due, db=self._due):
            write.delete(due, db=self._due_last)

    def _count(self, write: Read, keys: Sequence[bytes], record: Record, sign: int) -> None:
        """Count blobs that came or went, all with `record`."""
        stored = sum(stored_bytes(key, record) for key in keys)
        totals = self.totals(write)
        counted = _TOTALS.pack(totals.blobs + sign * len(keys), totals.bytes + sign * stored)
        write.put(_TOTALS_KEY, counted, db=self._totals)
        if record.kind == PACKED:
            blobs, bytes, packed = self.packed_totals(write)
            size = sum(map(size_of, keys))
            counted = _PACKED_TOTALS.pack(
                blobs + sign * len(keys), bytes + sign * size, packed + sign * stored
            )
            write.put(_PACKED_KEY, counted, db=self._totals)
