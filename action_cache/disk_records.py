"""How what is kept of actions is written: keys, and records that later versions can add to."""

from __future__ import annotations

from dataclasses import astuple
from hashlib import blake2b

import msgspec

from action_cache.results import ActionKey, Kept, Origin
from cas.digest import Digest
from cas.disk_index import digest_of, key_of

NAME_BYTES = 16  # of the hash of an instance's or a writer's name


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A Kept, as it is written. references: keys of blobs."""

    serialised: bytes
    references: list[bytes]


class StoredOrigin(msgspec.Struct, frozen=True, array_like=True):
    """An Origin, as it is written: what is left out at its end is not known."""

    program: str = ""
    target: str = ""
    mnemonic: str = ""
    invocation: str = ""
    toolchain: str = ""
    rules: str = ""


encode = msgspec.msgpack.Encoder().encode


def packed_key(key: ActionKey) -> bytes:
    """Return a key of fixed order: instance (16 bytes of its BLAKE2b), then the blob's key."""
    return packed_name(key.instance) + key_of(key.action)


def packed_name(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=NAME_BYTES).digest()


def action_in(packed: bytes) -> Digest:
    """Return the action of a packed key."""
    return digest_of(packed[NAME_BYTES:])


def entry_of(kept: Kept) -> Entry:
    return Entry(kept.serialised, sorted(key_of(digest) for digest in kept.references))


def kept_from(entry: Entry) -> Kept:
    return Kept(entry.serialised, frozenset(digest_of(key) for key in entry.references))


def stored_origin(origin: Origin) -> StoredOrigin:
    return StoredOrigin(*astuple(origin))


def origin_from(stored: StoredOrigin) -> Origin:
    return Origin(*msgspec.structs.astuple(stored))
