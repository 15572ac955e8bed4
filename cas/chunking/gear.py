"""The Gear hash, which both chunking functions look for their cuts with.

It rolls over a stream: hash = (hash << 1) + GEAR[byte], in 64 bits, so that a byte has left it
after 64 more. Here the hashes after each byte of a block are made at once, by doubling the
number of bytes they cover: H1[i] = GEAR[b[i]], H2m[i] = Hm[i] + (Hm[i - m] << m), six times.

Source: Wen Xia et al., The Design of Fast Content-Defined Chunking for Data Deduplication Based
Storage Systems, IEEE TPDS 2020, section 3; remote_execution.proto, message FastCdc2020Params.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = "NDArray[np.uint8]"
Hashes: TypeAlias = "NDArray[np.uint64]"

WINDOW_BYTES = 64  # what one hash covers
HISTORY_BYTES = WINDOW_BYTES - 1  # what has to stand before a byte for its hash to be whole
BLOCK_BYTES = 1 << 15  # hashed at once: the arrays of one block fit into a core's own cache

# GEAR[i]: the high 64 bits of the MD5 of 64 bytes i. The specification's text has the MD5 of one
# byte; its test vectors, and the implementations that it names, have this.
GEAR: Hashes = np.array(
    [
        int.from_bytes(hashlib.md5(bytes([byte]) * 64, usedforsecurity=False).digest()[:8], "big")
        for byte in range(256)
    ],
    np.uint64,
)
_SPANS = tuple(1 << step for step in range(WINDOW_BYTES.bit_length() - 1))


class GearHash:
    """Hashes blocks, in arrays of its own that are used again."""

    def __init__(self, seed: int = 0) -> None:
        """Take GEAR, each entry exclusive-or `seed` (32 bits)."""
        self._gear = GEAR ^ np.uint64(seed)
        self._hashes = np.empty(HISTORY_BYTES + BLOCK_BYTES, np.uint64)
        self._shifted = np.empty_like(self._hashes)

    def over(self, data: Bytes) -> Hashes:
        """Return the hash after each byte of `data`, before which nothing stands.

        data: at most HISTORY_BYTES + BLOCK_BYTES. The result is good until the next call.
        """
        hashes = self._hashes[: len(data)]
        np.take(self._gear, data, out=hashes, mode="clip")  # "raise" would copy
        for span in _SPANS:
            shifted = self._shifted[: max(0, len(data) - span)]
            np.left_shift(hashes[: len(shifted)], np.uint64(span), out=shifted)
            np.add(hashes[span:], shifted, out=hashes[span:])
        return hashes
