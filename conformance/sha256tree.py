"""SHA256TREE: SHA-256 of pieces of a blob, joined pairwise by the bare block cipher.

Source: remote_execution.proto, DigestFunction.SHA256TREE; FIPS 180-4, section 6.2.2.
"""

from __future__ import annotations

import hashlib
import struct
from itertools import count, islice
from math import isqrt

LEAF_BYTES = 1024
_WORD = 0xFFFFFFFF


def _primes(number: int) -> list[int]:
    found = (n for n in count(2) if all(n % each for each in range(2, isqrt(n) + 1)))
    return list(islice(found, number))


def _cube_root(number: int) -> int:
    """Return the whole part of the cube root."""
    low, high = 0, 1 << 40
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= number else (low, middle - 1)
    return low


# Fractional parts, 32 bits each: of cube roots of the first 64 primes, and of square roots of the
# 9th to the 16th.
_ROUND_CONSTANTS = [_cube_root(prime << 96) & _WORD for prime in _primes(64)]
_JOINING_STATE = tuple(isqrt(prime << 64) & _WORD for prime in _primes(16)[8:])


def sha256tree(data: bytes) -> bytes:
    """Return the 32 bytes that `data` hashes to."""
    if len(data) <= LEAF_BYTES:
        return hashlib.sha256(data).digest()
    left = 1 << (len(data) - 1).bit_length() - 1
    return _join(sha256tree(data[:left]) + sha256tree(data[left:]))


def _rotated(word: int, bits: int) -> int:
    return (word >> bits | word << 32 - bits) & _WORD


def _join(block: bytes) -> bytes:
    """Return the block cipher's output for two hashes, without adding the state it began with."""
    words = list(struct.unpack(">16I", block))
    for i in range(16, 64):
        early, late = words[i - 15], words[i - 2]
        sigma0 = _rotated(early, 7) ^ _rotated(early, 18) ^ early >> 3
        sigma1 = _rotated(late, 17) ^ _rotated(late, 19) ^ late >> 10
        words.append((words[i - 16] + sigma0 + words[i - 7] + sigma1) & _WORD)
    a, b, c, d, e, f, g, h = _JOINING_STATE
    for constant, word in zip(_ROUND_CONSTANTS, words, strict=True):
        sum1 = _rotated(e, 6) ^ _rotated(e, 11) ^ _rotated(e, 25)
        first = h + sum1 + (e & f ^ ~e & g) + constant + word
        sum0 = _rotated(a, 2) ^ _rotated(a, 13) ^ _rotated(a, 22)
        second = sum0 + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (first + second) & _WORD, a, b, c, (d + first) & _WORD, e, f, g
    return struct.pack(">8I", a, b, c, d, e, f, g, h)
