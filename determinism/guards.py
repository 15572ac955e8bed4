"""Whether the digest of a file's bytes, as they were, is written somewhere else.

Who wrote it will compare it with the file: a file so mentioned has to keep its bytes.
"""

from __future__ import annotations

import base64
import hashlib
import string
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from determinism.format import Data

SEARCHED_BYTES = 64 << 20  # of a file, from its start: what is behind is not looked at
_CHUNK_BYTES = 1 << 20
_OVERLAP_BYTES = 256  # more than the longest form of a digest: SHA-512 in hexadecimal has 128
_ONE_BY_ONE = 100  # texts; with more of them, reading each place once is faster
_HASHES = ("md5", "sha1", "sha256", "sha512")

_ENCODERS = (base64.b64encode, base64.urlsafe_b64encode)
_NOBODY: set[int] = set()
_LETTERS = (string.ascii_letters + string.digits).encode()


def _table(letters: bytes) -> bytes:
    """Return what bytes.translate makes `x` of `letters` with, and a space of all others."""
    return bytes(ord("x") if byte in letters else ord(" ") for byte in range(256))


_HEX = _table(string.hexdigits.encode())
_BASE64 = (_table(_LETTERS + b"+/"), _table(_LETTERS + b"-_"))


class Traces(NamedTuple):
    """How one file may be mentioned: its digests in hexadecimal, in base64, and as they are."""

    hexadecimal: frozenset[bytes]
    base64: frozenset[bytes]
    raw: tuple[bytes, ...]


def traces(data: Data, identities: Sequence[bytes] = ()) -> Traces:
    """Return the forms of `data`'s digests, each taken once, and of the ids that it carries.

    CRC-32 counts in hexadecimal alone: its four bytes, or ten digits, stand anywhere by chance.
    """
    raw = [hashlib.new(name, data, usedforsecurity=False).digest() for name in _HASHES]
    raw += identities
    hexadecimal = [f"{zlib.crc32(data):08x}", *(digest.hex() for digest in raw)]
    encoded = (encode(digest) for digest in raw for encode in _ENCODERS)
    return Traces(
        frozenset(text.encode() for each in hexadecimal for text in (each, each.upper())),
        frozenset(text.rstrip(b"=") for text in encoded),
        tuple(raw),
    )


class Search:
    """Looks for the traces of any number of files at once.

    Few are looked for one by one, at 5 GB/s and more each. For many, a place is read once: the runs
    of letters that a digest could be are picked out, and their ends compared.
    """

    def __init__(self, wanted: Sequence[Traces]) -> None:
        """Prepare to look for `wanted`; they are told by their index."""
        self._texts: dict[bytes, set[int]] = {}
        self._raw = [(raw, index) for index, each in enumerate(wanted) for raw in each.raw]
        for index, each in enumerate(wanted):
            for text in each.hexadecimal | each.base64:
                self._texts.setdefault(text, set()).add(index)
        hexadecimal = sorted({len(text) for each in wanted for text in each.hexadecimal})
        encoded = sorted({len(text) for each in wanted for text in each.base64})
        self._kinds = [(_HEX, hexadecimal), *((table, encoded) for table in _BASE64)]

    def found(self, data: Data) -> set[int]:
        """Return the indices of those that `data` mentions, in its first SEARCHED_BYTES."""
        mentioned: set[int] = set()
        end = min(len(data), SEARCHED_BYTES)
        one_by_one = len(self._texts) <= _ONE_BY_ONE
        if one_by_one:
            for text, owners in self._texts.items():
                if data.find(text, 0, end) >= 0:
                    mentioned |= owners
        for start in range(0, end, _CHUNK_BYTES):
            chunk = data[start : min(end, start + _CHUNK_BYTES + _OVERLAP_BYTES)]
            if not one_by_one:
                mentioned |= self._in_runs(chunk)
            if not chunk.isascii():
                mentioned |= {index for raw, index in self._raw if raw in chunk}
        return mentioned

    def _in_runs(self, chunk: bytes) -> set[int]:
        found: set[int] = set()
        for table, lengths in self._kinds:
            for run in _runs(chunk, table, lengths[0]):
                for length in lengths:
                    if length <= len(run):
                        found |= self._texts.get(run[:length], _NOBODY)
                        found |= self._texts.get(run[-length:], _NOBODY)
        return found


def _runs(chunk: bytes, table: bytes, least: int) -> Iterator[bytes]:
    """Yield each run of `table`'s letters that has at least `least` of them."""
    marked = chunk.translate(table)
    run = b"x" * least
    at = marked.find(run)
    while at >= 0:
        end = marked.find(b" ", at)
        end = len(chunk) if end < 0 else end
        yield chunk[at:end]
        at = marked.find(run, end)
