"""FastCDC 2020 as the protocol pins it down, to hold chunks of servers against.

Source: W. Xia and others, "The Design of Fast Content-Defined Chunking for Data Deduplication
Based Storage Systems", IEEE TPDS 31(9), 2020; remote_execution.proto, FastCdc2020Params, which
names the implementations that settle what the paper leaves open: the byte with which the hash fits
begins the next chunk, bytes count in pairs, and a seed is XORed into the table. The picture that
fastcdc2020_test_vectors.txt of the Remote APIs is about is cut here as it says, for both seeds.
"""

from __future__ import annotations

import hashlib

_WORD = (1 << 64) - 1
_NORMALISATION = 2  # bits more that are tested before the average size, and fewer after it
# Of 64 times the byte: the text says once, its test vectors and implementations say this.
_GEAR = [
    int.from_bytes(hashlib.md5(bytes([byte]) * 64, usedforsecurity=False).digest()[:8])
    for byte in range(256)
]
# By the number of bits tested; from the paper's own program.
_MASKS = {
    8: 0x0000001800035300,
    9: 0x0000019000353000,
    10: 0x0000590003530000,
    11: 0x0000D90003530000,
    12: 0x0000D90103530000,
    13: 0x0000D90303530000,
    14: 0x0000D90313530000,
    15: 0x0000D90F03530000,
    16: 0x0000D90303537000,
    17: 0x0000D90703537000,
    18: 0x0000D90707537000,
    19: 0x0000D91707537000,
    20: 0x0000D91747537000,
    21: 0x0000D91767537000,
    22: 0x0000D93767537000,
}


def chunk_sizes(data: bytes, average: int, seed: int = 0) -> list[int]:
    """Return the sizes of the chunks of `data`. average: bytes, a power of two."""
    gear = [each ^ seed for each in _GEAR]
    sizes = []
    start = 0
    while start < len(data):
        sizes.append(_first_size(data[start : start + 4 * average], average, gear))
        start += sizes[-1]
    return sizes


def _first_size(data: bytes, average: int, gear: list[int]) -> int:
    """Return the size of the first chunk. data: no longer than a chunk may be."""
    least, bits = average // 4, average.bit_length() - 1
    if len(data) <= least:
        return len(data)
    strict, lenient = _MASKS[bits + _NORMALISATION], _MASKS[bits - _NORMALISATION]
    centre = min(average, len(data)) & ~1
    hash = 0
    for at in range(least & ~1, len(data) & ~1):
        hash = (hash << 1) + gear[data[at]] & _WORD
        if not hash & (strict if at < centre else lenient):
            return at
    return len(data)
