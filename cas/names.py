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
_FRAME_TAG = bytes((_DIGEST,))
_FRAME_BYTES = 2  # of a tag and a length
_INSTANCE = 0x0A  # tag of field 1
_ONE_BYTE = 0x7F  # largest number whose varint is one byte
# The hash, the tag of size_bytes (never left out, as it is for an empty blob), a varint.
_NAME = re.compile(rb"([0-9a-f]{64}\x10[\x80-\xff]{0,8}[\x00-\x7f])(\x12[\x44-\x4c])?", re.DOTALL)


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
    instance = _instance(head[:-2])
    if not pieces or len(head) < _FRAME_BYTES or instance is None:
        return None
    last, function = pieces[-1], 0
    if len(last) > HASH_CHARACTERS + 2 and last[-2] == function_field << 3 and not name_in(last):
        pieces[-1], function = last[:-2], last[-1]
    if function > _ONE_BYTE or not _frames_fit(head[-2:], pieces):
        return None
    return Cut(instance, function, pieces)


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


def _frames_fit(first: bytes, pieces: list[bytes]) -> bool:
    """Tell whether what stands before each digest is the tag and the length of just that digest.

    Otherwise protobuf finds other digests in the request, or none.
    first: what stands before the first.
    """
    *before, last = pieces
    tag, length = first
    for piece in before:
        if tag != _DIGEST or length != len(piece) or length < HASH_CHARACTERS:
            return False
        tag, length = piece[-2], piece[-1]
    return tag == _DIGEST and length == len(last) + _FRAME_BYTES and last[-2:-1] != _FRAME_TAG


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
