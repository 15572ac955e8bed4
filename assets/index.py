"""What is known of assets: which digest they have, since when, until when.

It is kept in the index of a disk store; docs/storage.md has the layout.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

import msgspec

from cas.digest import Digest, DigestFunction
from cas.disk_index import digest_of, key_of
from cas.environment import Database, Environment, Read

KEY_BYTES = 32
_WRITTEN = struct.Struct(">Q")  # microseconds since 1970


class Kind(StrEnum):
    """What an asset is given as. One URI can have one of each."""

    BLOB = "blob"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class AssetName:
    """What an asset is remembered under. stated: qualifiers, sorted; none is a secret."""

    kind: Kind
    instance: str
    function: DigestFunction
    uri: str
    stated: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What was pushed or fetched.

    digest: of the blob, or of the root Directory. retrieved: when it was pushed, or its retrieval
    begun. expires: when it is no longer to be answered; 0: never. commit: of a revision, "" where
    there is none. Times are in seconds since 1970. blobs, directories: what it refers to beside
    its own contents.
    """

    digest: Digest
    retrieved: float
    expires: float = 0
    commit: str = ""
    blobs: tuple[Digest, ...] = ()
    directories: tuple[Digest, ...] = ()


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """A Known, as it is written, with keys of blobs in place of digests."""

    written: int
    digest: bytes
    retrieved: float
    expires: float = 0
    commit: str = ""
    blobs: tuple[bytes, ...] = ()
    directories: tuple[bytes, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


class AssetIndex:
    """Assets by name, `most` of them: those that were pushed or fetched longest ago go first.

    Names are kept as hashes alone, since URIs may hold what is not to be read there.
    """

    def __init__(self, environment: Environment, *, most: int) -> None:
        self._environment = environment
        self._most = most
        self._assets: Database = environment.database("assets")
        self._by_age: Database = environment.database("assets_by_age")

    def find(self, name: AssetName) -> Known | None:
        with self._environment.read() as read:
            found = read.get(_key(name), db=self._assets)
        return _known(_decode(found)) if found else None

    async def put(self, names: list[AssetName], known: Known, *, now: float) -> None:
        """Remember `known` under all `names`, in place of what was known of them; one change."""
        keys = [_key(name) for name in names]
        packed = _encode(_record(known, int(now * 1_000_000)))

        def change(write: Read) -> None:
            for key in keys:
                self._put(write, key, packed)
            self._bound(write)

        await self._environment.write(change)

    def count(self) -> int:
        with self._environment.read() as read:
            return read.stat(self._assets)["entries"]

    def _put(self, write: Read, key: bytes, packed: bytes) -> None:
        if before := write.get(key, db=self._assets):
            write.delete(_age(before) + key, db=self._by_age)
        write.put(key, packed, db=self._assets)
        write.put(_age(packed) + key, b"", db=self._by_age)

    def _bound(self, write: Read) -> None:
        excess = write.stat(self._assets)["entries"] - self._most
        with write.cursor(db=self._by_age) as cursor:
            while excess > 0 and cursor.first():
                write.delete(cursor.key()[_WRITTEN.size :], db=self._assets)
                cursor.delete()
                excess -= 1


def _key(name: AssetName) -> bytes:
    told = [name.kind, name.instance, name.function, name.uri, name.stated]
    return blake2b(_encode(told), digest_size=KEY_BYTES).digest()


def _age(packed: bytes) -> bytes:
    return _WRITTEN.pack(_decode(packed).written)


def _record(known: Known, written: int) -> _Record:
    return _Record(
        written,
        key_of(known.digest),
        known.retrieved,
        known.expires,
        known.commit,
        tuple(map(key_of, known.blobs)),
        tuple(map(key_of, known.directories)),
    )


def _known(record: _Record) -> Known:
    return Known(
        digest_of(record.digest),
        record.retrieved,
        record.expires,
        record.commit,
        tuple(map(digest_of, record.blobs)),
        tuple(map(digest_of, record.directories)),
    )
