"""The names of blobs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol, Self

from blake3 import blake3


class Hasher(Protocol):
    """What hashlib's hashers and blake3's have in common."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


class DigestFunction(StrEnum):
    """A way to name bytes. Two functions of one length are two key spaces.

    Source: remote_execution.proto, message DigestFunction.
    """

    SHA256 = "sha256"
    SHA1 = "sha1"
    BLAKE3 = "blake3"

    __hash__ = str.__hash__  # Enum's own is Python code: it made sets of digests 4 times slower

    def hasher(self) -> Hasher:
        return _HASHERS[self]()

    @property
    def hex_length(self) -> int:
        """Characters of a hash in hexadecimal."""
        return _HEX_LENGTHS[self]


_HASHERS: dict[DigestFunction, Callable[[], Hasher]] = {
    DigestFunction.SHA256: hashlib.sha256,
    DigestFunction.SHA1: hashlib.sha1,
    DigestFunction.BLAKE3: blake3,
}
_HEX_LENGTHS = {DigestFunction.SHA256: 64, DigestFunction.SHA1: 40, DigestFunction.BLAKE3: 64}
_FORMS = {
    function: re.compile(f"[0-9a-f]{{{length}}}") for function, length in _HEX_LENGTHS.items()
}
MAX_BLOB_BYTES = (1 << 63) - 1  # the wire's type for sizes is int64


class InvalidDigest(ValueError):
    """Names nothing: the hash has the wrong form, or the size is negative."""


class Digest(NamedTuple):
    """The name of one blob: what its bytes hash to, how many they are, and by which function.

    hash: lowercase hexadecimal, as long as the function makes it.
    size: bytes, at least 0.

    A tuple, not a dataclass: a request can name 10,000 of them, and tuples hash 4 times faster.
    """

    hash: str
    size: int
    function: DigestFunction = DigestFunction.SHA256

    @classmethod
    def parse(cls, hash: str, size: int, function: DigestFunction) -> Self:
        """Check a name that came from outside; raise InvalidDigest if it names nothing.

        Source: remote_execution.proto, message Digest.
        """
        if not _FORMS[function].fullmatch(hash):
            raise InvalidDigest(
                f"digest hash {hash[:80]!r}: a {function} hash is {_HEX_LENGTHS[function]} "
                "lowercase hexadecimal characters"
            )
        if not 0 <= size <= MAX_BLOB_BYTES:
            raise InvalidDigest(f"digest size_bytes {size}: must be 0 or more")
        return cls(hash, size, function)

    @classmethod
    def of(cls, data: bytes, function: DigestFunction = DigestFunction.SHA256) -> Self:
        """Name `data`."""
        hasher = function.hasher()
        hasher.update(data)
        return cls(hasher.hexdigest(), len(data), function)

    def __str__(self) -> str:
        return f"{self.hash}/{self.size}"


EMPTY_HASHES = {function: Digest.of(b"", function).hash for function in DigestFunction}
