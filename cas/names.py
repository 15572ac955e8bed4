"""Digests in the form in which requests carry them, cut out without being taken apart.

A request that names 1,000 blobs costs 1.6 ms to turn into messages and then into digests. Most
such requests ask for blobs that were asked for a moment ago, so what the server remembers of them
is kept under these names: finding that all 1,000 are there then takes 0.2 ms.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from cas.digest import Digest, DigestFunction

HASH_CHARACTERS = 64  # only functions of this length; others go the ordinary way
_INSTANCE, _DIGEST, _HASH = 0x0A, 0x12, 0x0A  # tags: field 1, field 2, and Digest.hash
_FRAME_BYTES = 4  # of a digest in a request: its tag, its length, and the same of its hash
# A name: the hash, the tag of size_bytes (never left out, as it is for an empty blob), a varint.
_NAME = re.compile(rb"\x12[\x44-\x4c]\n@([0-9a-f]{64}\x10[\x80-\xff]{0,8}[\x00-\x7f])", re.DOTALL)


def names_in(request: bytes, function_field: int) -> tuple[str, int, list[bytes]] | None:
    """Cut a request that is an instance name, digests in field 2 and a digest function.

    function_field: the number of the field digest_function.
    Returns the instance name, the digest function's number and the names; None where the request
    holds anything else, or is not written in the usual way: then it is to be parsed as a message.
    """
    start, instance = 0, ""
    if request[:1] == b"\n":
        if len(request) < 2 or request[1] > 0x7F:  # noqa: PLR2004 - a length of one byte
            return None
        start = 2 + request[1]
        instance = request[2:start].decode(errors="replace")
    names: list[bytes] = _NAME.findall(request, start)
    rest = len(request) - start - sum(map(len, names)) - _FRAME_BYTES * len(names)
    if rest == 0:
        return instance, 0, names
    if rest == 2 and request[-2] == function_field << 3 and names:  # noqa: PLR2004
        return instance, request[-1], names
    return None


def digest_of_name(name: bytes, function: DigestFunction) -> Digest:
    """Return the digest that `name` says."""
    size = 0
    for at, byte in enumerate(name[HASH_CHARACTERS + 1 :]):
        size |= (byte & 0x7F) << (7 * at)
    return Digest(name[:HASH_CHARACTERS].decode(), size, function)


def framed(name: bytes) -> bytes:
    """Return a name as a digest in field 2 of a message, or in field 1 after its first byte."""
    return b"\x12%c\n@%b" % (len(name) + 2, name)


class Presence:
    """Names of blobs that are there and whose lease is fresh, for a while.

    seconds: how long a name is remembered: what a lease is longer than was promised.
    max_names: how many at most; about 150 bytes each.
    """

    def __init__(
        self,
        *,
        seconds: float,
        max_names: int = 200_000,
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
