"""Digests in the form in which requests carry them, cut out without being taken apart.

A request that names 1,000 blobs costs 1.6 ms to turn into messages and then into digests. Most
such requests ask for blobs that were asked for a moment ago, so what the server remembers of them
is kept as cut out of requests: finding that all 1,000 are there then takes 0.2 ms.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from cas.digest import Digest, DigestFunction, InvalidDigest

HASH_CHARACTERS = 64  # only functions of this length; others go the ordinary way
REMEMBERED_DIGESTS = 20_000  # about 400 bytes each
_DIGEST = 0x12  # tag of field 2, which stands before each digest with the digest's length
HASH_FRAME = b"\n@"  # tag and length of Digest.hash; they cannot stand inside a digest
_FRAME_BYTES = 2  # of a tag and a length
_FIELD_BYTES = 2  # of a tag and a number of one byte
_INSTANCE = 0x0A  # tag of field 1
_ONE_BYTE = 0x7F  # largest number whose varint is one byte
# The hash, the tag of size_bytes (never left out, as it is for an empty blob), a varint.
_NAME = re.compile(rb"([0-9a-f]{64}\x10[\x80-\xff]{0,8}[\x00-\x7f])(\x12[\x44-\x4c])?", re.DOTALL)
# Digests one after the other, each as long as what stands before it says: a request in which a
# length lies holds other digests, or none, to protobuf.
_FRAMES = re.compile(
    rb"(?:\x12(?:%b))*+"
    % b"|".join(
        rb"\x%02x\n@.{%d}" % (size + len(HASH_FRAME), size)
        for size in range(HASH_CHARACTERS + 2, HASH_CHARACTERS + 11)
    ),
    re.DOTALL,
)


class Cut(NamedTuple):
    """A request's instance name, the number of its digest function, and pieces.

    A piece is a digest's hash and size, and what stands before the next one's hash. One that is
    known is what it seems to be; another is to be given to `name_in`.
    """

    instance: str
    function: int
    pieces: list[bytes]


def cut(request: bytes, function_field: int) -> Cut | None:
    """Cut a request that is an instance name, digests in field 2 and a digest function.

    function_field: the number of the field digest_function. Returns None where it is seen at once
    that the request holds anything else; it is to be parsed as a message then.
    """
    head, *pieces = request.split(HASH_FRAME)
    instance = _instance(head[:-_FRAME_BYTES])
    if not pieces or len(head) < _FRAME_BYTES or instance is None:
        return None
    frames = _FRAMES.match(request, len(head) - _FRAME_BYTES)
    rest = request[frames.end() :] if frames else b""
    if not frames or not frames[0] or (rest and not _is_small(rest, function_field)):
        return None
    if rest:
        pieces[-1] = pieces[-1][: -len(rest)]
    return Cut(instance, rest[1] if rest else 0, pieces)


def _is_small(field: bytes, number: int) -> bool:
    """Tell whether `field` is that of this number, with a number of one byte, and nothing else."""
    return len(field) == _FIELD_BYTES and field[0] == number << 3 and field[1] <= _ONE_BYTE


def _instance(field: bytes) -> str | None:
    """Return what `field`, nothing or field 1 of a request, holds; None if it is not written so."""
    if not field:
        return ""
    if len(field) < _FRAME_BYTES or field[0] != _INSTANCE or field[1] > _ONE_BYTE:
        return None
    try:
        return field[_FRAME_BYTES:].decode() if len(field) == _FRAME_BYTES + field[1] else None
    except UnicodeDecodeError:
        return None


def name_in(piece: bytes) -> bytes | None:
    """Return the name that `piece` is, its hash and size alone; None if it is none.

    Then the request is not written in the usual way, and is to be parsed as a message.
    """
    found = _NAME.fullmatch(piece)
    return found[1] if found else None


@lru_cache(maxsize=REMEMBERED_DIGESTS)
def digest_in(piece: bytes, function: DigestFunction) -> Digest:
    """Return the digest that `piece` is; raise InvalidDigest if it is none."""
    name = name_in(piece)
    if name is None:
        raise InvalidDigest(f"{piece!r} is not a digest in the usual form")
    size = 0
    for at, byte in enumerate(name[HASH_CHARACTERS + 1 :]):
        size |= (byte & 0x7F) << (7 * at)
    return Digest.parse(name[:HASH_CHARACTERS].decode(), size, function)


def name_of(digest: Digest) -> bytes:
    """Return the name of a digest that is not of an empty blob."""
    return b"%b\x10%b" % (digest.hash.encode(), varint(digest.size))


_SHORT = [bytes((number,)) for number in range(_ONE_BYTE + 1)]


def varint(number: int) -> bytes:
    """Write a number of 0 or more as the wire does. Source: protobuf's encoding, varints."""
    if number <= _ONE_BYTE:
        return _SHORT[number]
    written = bytearray()
    while number > _ONE_BYTE:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def framed(digest: Digest) -> bytes:
    """Return a digest that is not of an empty blob, as field 2 of a message."""
    name = name_of(digest)
    return b"%c%c%b%b" % (_DIGEST, len(name) + len(HASH_FRAME), HASH_FRAME, name)


class Presence:
    """Blobs that are there and whose lease is fresh, for a while: their names and pieces.

    seconds: how long they are remembered: what a lease is longer than was promised.
    max_names: how many at most; about 150 bytes each.
    """

    def __init__(
        self,
        *,
        seconds: float,
        max_names: int = 150_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._max_names = max_names
        self._clock = clock
        self._until = 0.0
        self._known: dict[DigestFunction, set[bytes]] = {}
        self._seen = -1
        self.generation = 0

    def forget(self, _digest: Digest | None = None) -> None:
        """Begin anew: a blob has gone. May be called from any thread."""
        self.generation += 1

    def known(self, function: DigestFunction) -> set[bytes]:
        """Return what is remembered; good until the next `await`."""
        if self._seen != self.generation or self._clock() > self._until:
            self._seen = self.generation
            self._known = {each: set() for each in DigestFunction}
            self._until = self._clock() + self._seconds
        return self._known[function]

    def add(self, function: DigestFunction, names: Iterable[bytes], generation: int) -> None:
        """Remember `names`, unless a blob has gone since `generation` was read."""
        known = self.known(function)
        if generation == self.generation and len(known) < self._max_names:
            known.update(names)
