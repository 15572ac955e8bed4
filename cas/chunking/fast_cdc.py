"""FastCDC 2020: cuts where bits of the Gear hash are zero, more of them before the average size.

Source: remote_execution.proto, message FastCdc2020Params, which has the paper, and fixes
normalisation level 2 and the bounds of sizes; the masks are those of the paper's own program
(destor), which go on in restic-FastCDC for large sizes. What neither says is settled as the named
implementation does it (the crate fastcdc 3.2.1, v2020): the byte after which the hash fits
begins the next chunk, and bytes are looked at in pairs, so that a single last one is not.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from cas.chunking.cutter import ChunkingFunction
from cas.chunking.gear import BLOCK_BYTES, HISTORY_BYTES, Bytes, GearHash

NORMALISATION = 2  # how many bits more are tested before the average size, and fewer after it
# By the number of bits tested.
MASKS = {
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


@dataclass(frozen=True, slots=True)
class FastCdc:
    """average_bytes: a power of two from 1 KiB to 1 MiB. seed: 32 bits."""

    average_bytes: int = 512 * 1024
    seed: int = 0

    @property
    def function(self) -> ChunkingFunction:
        return ChunkingFunction.FAST_CDC_2020

    @property
    def parameters(self) -> bytes:
        return struct.pack(">II", self.average_bytes, self.seed)

    @property
    def least_bytes(self) -> int:
        return self.average_bytes // 4

    @property
    def most_bytes(self) -> int:
        return self.average_bytes * 4

    @property
    def cut_from_bytes(self) -> int:
        """Return the size of the largest chunk.

        Source: remote_execution.proto, message FastCdc2020Params: smaller blobs SHOULD be uploaded
        without chunking.
        """
        return self.most_bytes

    def cutter(self) -> FastCdcCutter:
        return FastCdcCutter(self)


class FastCdcCutter:
    """Keeps less than 64 bytes of the stream."""

    def __init__(self, chunking: FastCdc) -> None:
        bits = chunking.average_bytes.bit_length() - 1
        self._least = chunking.least_bytes
        self._average = chunking.average_bytes
        self._most = chunking.most_bytes
        self._strict = np.uint64(MASKS[bits + NORMALISATION])
        self._lenient = np.uint64(MASKS[bits - NORMALISATION])
        self._gear = GearHash(chunking.seed)
        self._passed = 0  # bytes of the current chunk that were looked at
        self._waiting = 0  # bytes that were not: the first of a pair
        self._kept = b""  # the end of the stream: what the next hashes cover, then what waits

    def add(self, piece: bytes) -> list[int]:
        data = np.frombuffer(self._kept + piece, np.uint8)
        at = len(self._kept) - self._waiting
        sizes: list[int] = []
        while True:
            if self._passed < self._least:  # no cut is looked for, and the hash begins after it
                skipped = min(self._least - self._passed, len(data) - at)
                self._passed += skipped
                at += skipped
            boundary = self._average if self._passed < self._average else self._most
            count = min(BLOCK_BYTES, boundary - self._passed, (len(data) - at) // 2 * 2)
            if self._passed < self._least or not count:
                break
            cut = self._first_cut(data[at - self._history() : at + count])
            at += count if cut is None else cut
            self._passed += count if cut is None else cut
            if cut is not None or self._passed == self._most:
                sizes.append(self._passed)
                self._passed = 0
        self._waiting = len(data) - at
        self._kept = data[at - self._history() :].tobytes()
        return sizes

    def finish(self) -> list[int]:
        rest = self._passed + self._waiting
        return [rest] if rest else []

    def _history(self) -> int:
        """Return how many of the bytes before the next are in its hash."""
        return min(HISTORY_BYTES, max(0, self._passed - self._least))

    def _first_cut(self, data: Bytes) -> int | None:
        """Return how many bytes of `data`, its history aside, stand before the first cut."""
        mask = self._strict if self._passed < self._average else self._lenient
        hashes = self._gear.over(data)[self._history() :]
        fits = np.bitwise_and(hashes, mask, out=hashes) == 0
        first = int(fits.argmax())
        return first if fits[first] else None
