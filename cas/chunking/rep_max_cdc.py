"""RepMaxCDC: cuts where the Gear hash is the largest, again and again until chunks are small.

Of the places where a chunk may end, up to a horizon, the one with the largest hash is to be a cut
(the first of several). Where the chunk would have two times the least size or more, the largest is
looked for again in front of it, at the least size's distance, so that it can still be a later cut.

Source: remote_execution.proto, message RepMaxCdcParams; Ed Schouten, Content-Defined Chunking with
tight chunk size bounds, 2026, in the repository of buildbarn/go-cdc, whose version 0.0.10 gave the
numbers in the tests.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

import numpy as np

from cas.chunking.cutter import ChunkingFunction
from cas.chunking.gear import BLOCK_BYTES, HISTORY_BYTES, GearHash, Hashes


@dataclass(frozen=True, slots=True)
class RepMaxCdc:
    """min_bytes: at least 64; all chunks have fewer than two times as many. horizon_bytes: any."""

    min_bytes: int = 256 * 1024
    horizon_bytes: int = 8 * 256 * 1024

    @property
    def function(self) -> ChunkingFunction:
        return ChunkingFunction.REP_MAX_CDC

    @property
    def parameters(self) -> bytes:
        return struct.pack(">QQ", self.min_bytes, self.horizon_bytes)

    @property
    def least_bytes(self) -> int:
        return self.min_bytes

    @property
    def most_bytes(self) -> int:
        return 2 * self.min_bytes - 1

    @property
    def cut_from_bytes(self) -> int:
        return 2 * self.min_bytes

    def cutter(self) -> RepMaxCdcCutter:
        return RepMaxCdcCutter(self)


class RepMaxCdcCutter:
    """Keeps 8 bytes for each byte of the horizon and of two chunks, but none of the stream itself.

    Hashes are kept in blocks, each with its largest, so that the largest between two places is
    found without looking at all of them.
    """

    def __init__(self, chunking: RepMaxCdc) -> None:
        self._least = chunking.min_bytes
        self._seen_ahead = 2 * chunking.min_bytes + chunking.horizon_bytes
        self._gear = GearHash()
        self._blocks: deque[Hashes] = deque()
        self._largest: deque[int] = deque()  # of each block
        self._spare: list[Hashes] = []  # blocks to fill again: fresh memory is slow
        self._first = 0  # the place of the first hash that is kept
        self._hashed = 0  # bytes of the stream
        self._start = 0  # of the current chunk
        self._kept = b""  # the end of the stream: what the next hashes cover, then what waits

    def add(self, piece: bytes) -> list[int]:
        self._hash(self._kept + piece, whole_blocks=True)
        sizes: list[int] = []
        while self._hashed - self._start >= self._seen_ahead:
            sizes.append(self._cut(self._start + self._seen_ahead))
        return sizes

    def finish(self) -> list[int]:
        self._hash(self._kept, whole_blocks=False)
        sizes: list[int] = []
        while self._hashed - self._start >= 2 * self._least:
            sizes.append(self._cut(min(self._start + self._seen_ahead, self._hashed)))
        rest = self._hashed - self._start
        return [*sizes, rest] if rest else sizes

    def _hash(self, kept: bytes, *, whole_blocks: bool) -> None:
        """Hash what of `kept` was not, in blocks; keep what is no whole block if that is asked."""
        data = np.frombuffer(kept, np.uint8)
        at = history = min(HISTORY_BYTES, self._hashed)
        while (count := min(BLOCK_BYTES, len(data) - at)) == BLOCK_BYTES or (
            count and not whole_blocks
        ):
            block = self._spare.pop() if self._spare else np.empty(BLOCK_BYTES, np.uint64)
            hashes = self._gear.over(data[at - history : at + count])[history:]
            np.copyto(block[:count], hashes)
            self._blocks.append(block)
            self._largest.append(int(hashes.max()))
            self._hashed += count
            at += count
            history = HISTORY_BYTES
        self._kept = data[at - history :].tobytes()

    def _cut(self, end: int) -> int:
        """End the current chunk, by what the stream holds up to `end`; return its size."""
        start = self._start
        first, last = start + self._least, end - self._least
        while (cut := self._best(first, last)) - start >= 2 * self._least:
            last = cut - self._least
        self._start = cut
        while self._first + BLOCK_BYTES < cut:  # the next is at least 64 bytes on
            self._first += BLOCK_BYTES
            self._spare.append(self._blocks.popleft())
            self._largest.popleft()
        return cut - start

    def _best(self, first: int, last: int) -> int:
        """Return where the hash is the largest of the places from `first` to `last`.

        A place is the number of bytes of the stream before it.
        """
        # The hash at a place is the one after the byte before it.
        low, after = first - 1 - self._first, last - self._first
        (left, start), (right, stop) = divmod(low, BLOCK_BYTES), divmod(after, BLOCK_BYTES)
        if left == right:
            return first + int(self._blocks[left][start:stop].argmax())
        found = [(left, int(self._blocks[left][start:].max()))]
        found += ((block, self._largest[block]) for block in range(left + 1, right))
        if stop:
            found.append((right, int(self._blocks[right][:stop].max())))
        block, _ = max(found, key=lambda one: one[1])  # the first of the largest
        begin = start if block == left else 0
        end = stop if block == right else BLOCK_BYTES
        at = block * BLOCK_BYTES + begin + int(self._blocks[block][begin:end].argmax())
        return self._first + 1 + at
