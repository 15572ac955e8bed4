"""The block cipher inside SHA-256, as SHA256TREE uses it: once, from a state of its own.

hashlib does not give it away, and no package that is kept well does. OpenSSL has it, in the very
library that hashlib works with, and is called there: 1 µs for each pair. Where that library does
not show it, as in Pythons that were linked statically, Python's own integers do the work, with one
pair in each 64 bits of them: 7 µs for each of many pairs, 0.2 ms for a single one.

Source: FIPS 180-4, sections 4.1.2, 4.2.2 and 6.2.2; remote_execution.proto, message DigestFunction,
SHA256TREE.
"""

from __future__ import annotations

import _hashlib
import ctypes
import struct
import sys
from array import array
from collections.abc import Callable
from itertools import count, islice

HASH_BYTES = 32
PAIR_BYTES = 64  # two hashes: one block
CONTEXT_BYTES = 112  # of OpenSSL's SHA256_CTX, whose first 32 bytes are the state
LANE_BYTES = 8  # of an integer, for one pair: 32 bits, and room for what sums carry over

Parents = Callable[[bytes], bytes]

_WORD = 0xFFFFFFFF
_PRIMES = list(islice((n for n in count(2) if all(n % d for d in range(2, n))), 64))
_K = [int(prime ** (1 / 3) * 2**32) & _WORD for prime in _PRIMES]
_STATE = [int(prime**0.5 * 2**32) & _WORD for prime in _PRIMES[8:16]]


def parents_in_python(pairs: bytes) -> bytes:
    """Return the hash of each of `pairs`, 64 bytes each, in 32 bytes each."""
    number = len(pairs) // PAIR_BYTES
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * number, "little")
    mask = ones * _WORD
    words = [_word(pairs, at, PAIR_BYTES) for at in range(16)]
    a, b, c, d, e, f, g, h = [ones * word for word in _STATE]
    for t, k in enumerate(_K):
        if t >= len(words):
            x, y = words[t - 15], words[t - 2]
            xx, yy = x | x << 32, y | y << 32  # twice, so that a shift to the right rotates
            first = (xx >> 7 ^ xx >> 18 ^ x >> 3) & mask
            second = (yy >> 17 ^ yy >> 19 ^ y >> 10) & mask
            words.append(words[t - 16] + first + words[t - 7] + second & mask)
        ee, aa = e | e << 32, a | a << 32
        first = (ee >> 6 ^ ee >> 11 ^ ee >> 25) & mask
        second = (aa >> 2 ^ aa >> 13 ^ aa >> 22) & mask
        first += h + (g ^ e & (f ^ g)) + ones * k + words[t]
        second += a & b | c & (a | b)
        a, b, c, d, e, f, g, h = first + second & mask, a, b, c, d + first & mask, e, f, g
    hashes = bytearray(number * HASH_BYTES)
    for at, word in enumerate((a, b, c, d, e, f, g, h)):
        lanes = word.to_bytes(number * LANE_BYTES, "little")
        for byte in range(4):
            hashes[4 * at + 3 - byte :: HASH_BYTES] = lanes[byte::LANE_BYTES]
    return bytes(hashes)


def _word(blocks: bytes, at: int, stride: int) -> int:
    """Return word `at`, big-endian, of all blocks of `stride` bytes, each in a lane of its own."""
    lanes = bytearray(len(blocks) // stride * LANE_BYTES)
    for byte in range(4):
        lanes[byte::LANE_BYTES] = blocks[4 * at + 3 - byte :: stride]
    return int.from_bytes(lanes, "little")


def parents_in_openssl() -> Parents | None:
    """Return what does the same in OpenSSL; None where that cannot be called, or does otherwise."""
    try:
        transform = ctypes.PyDLL(_hashlib.__file__).SHA256_Transform
    except (AttributeError, OSError):
        return None
    transform.argtypes, transform.restype = (ctypes.c_void_p, ctypes.c_void_p), None
    state = struct.pack("=8I", *_STATE)

    def parents(pairs: bytes) -> bytes:
        number = len(pairs) // PAIR_BYTES
        states = ctypes.create_string_buffer(state * number, number * HASH_BYTES + CONTEXT_BYTES)
        blocks = ctypes.create_string_buffer(pairs, len(pairs))
        to, block = ctypes.addressof(states), ctypes.addressof(blocks)
        for at in range(number):  # the state alone is written, so contexts may overlap
            transform(to + at * HASH_BYTES, block + at * PAIR_BYTES)
        return _less_state(states.raw[: number * HASH_BYTES], state * number)

    pairs = bytes(range(2 * PAIR_BYTES))
    return parents if parents(pairs) == parents_in_python(pairs) else None


def _less_state(sums: bytes, states: bytes) -> bytes:
    """Take back the addition of the initial state, which ends a block of SHA-256 but not here.

    sums, states: words in the machine's order. Returns big-endian words. All are subtracted at
    once: the highest bit of each is set aside, so that no word borrows from the next.
    """
    top = int.from_bytes(struct.pack("=I", 1 << 31) * (len(sums) // 4), sys.byteorder)
    x, y = int.from_bytes(sums, sys.byteorder), int.from_bytes(states, sys.byteorder)
    less = (x | top) - (y & ~top) ^ (x ^ ~y) & top
    words = array("I", less.to_bytes(len(sums), sys.byteorder))
    if sys.byteorder == "little":
        words.byteswap()
    return words.tobytes()


parents: Parents = parents_in_openssl() or parents_in_python
