"""Checksums that an asset is to have, as `checksum.sri` writes them."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from blake3 import blake3

from assets.fault import ContentMismatch
from cas.digest import Hasher

# The weakest first. Bazel sends sha1 and blake3 too, which the recommendation does not have.
_HASHERS: dict[str, Callable[[], Hasher]] = {
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
    "blake3": blake3,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
}
_STRENGTH = list(_HASHERS)


class InvalidChecksum(ValueError):
    """A text that says no checksum that can be verified."""


@dataclass(frozen=True, slots=True)
class Integrity:
    """The strongest of the checksums that were given: any one of `hashes` will do.

    Source: W3C Subresource Integrity, section 3.3, "Do bytes match metadataList?".
    """

    algorithm: str
    hashes: frozenset[bytes]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read checksums with whitespace between them; raise InvalidChecksum.

        Those of unknown algorithms are passed over, unless there are no others.
        """
        found: dict[str, set[bytes]] = {}
        for word in text.split():
            algorithm, _, rest = word.partition("-")
            if algorithm in _HASHERS:
                found.setdefault(algorithm, set()).add(_decoded(word, algorithm, rest))
        if not found:
            raise InvalidChecksum(
                f"checksum.sri {text[:200]!r}: must hold a checksum such as sha256-BASE64; "
                f"algorithms are {', '.join(_STRENGTH)}"
            )
        strongest = max(found, key=_STRENGTH.index)
        return cls(strongest, frozenset(found[strongest]))

    def hasher(self) -> Hasher:
        return _HASHERS[self.algorithm]()

    def check(self, found: bytes) -> None:
        """Raise ContentMismatch unless `found`, of `hasher`, is one of those that will do."""
        if found not in self.hashes:
            raise ContentMismatch(
                f"its {self.algorithm} is {b64encode(found).decode()}, which is not the "
                "checksum.sri that was asked for"
            )


def _decoded(word: str, algorithm: str, rest: str) -> bytes:
    encoded = rest.partition("?")[0]  # options, which mean nothing yet, follow a question mark
    try:
        hash = b64decode(encoded, validate=True)
    except ValueError:
        hash = b""
    if len(hash) != len(_HASHERS[algorithm]().digest()):
        raise InvalidChecksum(f"checksum.sri {word[:200]!r}: not a {algorithm} in base64")
    return hash
