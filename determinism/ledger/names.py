"""Digests in the forms that the ledger keeps them in."""

from __future__ import annotations

import re
from binascii import a2b_hex, b2a_hex
from collections.abc import Iterable
from typing import NamedTuple

from cas.digest import EMPTY_HASHES, Digest, DigestFunction
from cas.wire import FROM_WIRE, TO_WIRE

_NAMED = re.compile(r"(tree )?([0-9a-f]{32,128})/(0|[1-9]\d{0,17})( executable)?")
_FORMS = {"file": "{}", "executable": "{} executable", "tree": "tree {}"}
_LINK_HEX = 16  # characters of a hash that a link is made of
_EMPTY = frozenset(EMPTY_HASHES.values())


def packed(digest: Digest) -> bytes:
    """Return function (its number in the protocol, 1 byte), hash, size (8 bytes, big-endian)."""
    return (
        TO_WIRE[digest.function].to_bytes(1, "big")
        + a2b_hex(digest.hash)
        + digest.size.to_bytes(8, "big")
    )


def unpacked(name: bytes) -> Digest:
    """Return what `packed` was made of."""
    return Digest(
        b2a_hex(name[1:-8]).decode(), int.from_bytes(name[-8:], "big"), FROM_WIRE[name[0]]
    )


class Output(NamedTuple):
    """What an outcome says of an output.

    kind: `file`, `executable` or `tree`, and `other` for what has no digest. digest: of the first
    three. text: what stands there of the last.
    """

    kind: str
    digest: Digest | None
    text: str

    def __str__(self) -> str:
        return _FORMS[self.kind].format(self.digest) if self.digest else self.text


def output_of(said: str, function: DigestFunction) -> Output:
    """Take apart what determinism.outcome wrote. function: the action's."""
    found = _NAMED.fullmatch(said)
    if found is None:
        return Output("other", None, said)
    tree, hash, size, executable = found.groups()
    if len(hash) != function.hex_length or (tree and executable):
        return Output("other", None, said)
    kind = "tree" if tree else "executable" if executable else "file"
    return Output(kind, Digest(hash, int(size), function), "")


def file_in(said: str, function: DigestFunction) -> Digest | None:
    """Return the digest of a file that an outcome names, None where it names no file."""
    output = output_of(said, function)
    return None if output.kind == "tree" else output.digest


def link_of(hash: str) -> int:
    """Return the first 8 bytes of a hash, as a signed integer: what joins makers and consumers.

    Ten million files have two of one link with a probability of 3 in a million, and then an action
    is taken for a consumer that is none.
    """
    return int.from_bytes(a2b_hex(hash[:_LINK_HEX]), "big", signed=True)


def links_of(digests: Iterable[Digest]) -> set[int]:
    """Return the links of `digests`. Empty files have none: whoever makes one makes the same."""
    return {link_of(digest.hash) for digest in digests if digest.hash not in _EMPTY}
