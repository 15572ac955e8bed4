"""Compressed bytes, made again from other contents by the very encoder that made them.

An encoder is known by its work: it is used only where it makes the old bytes of the old contents,
bit by bit. So nothing changes but what the contents ask for.

Source of the format: RFC 1951.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from determinism.format import Data, Declined

PEEKED_BYTES = 512  # of the contents: by them it is decided whether they are of a known format
SLICE_BYTES = 64 << 10  # given to zlib at a time
MAX_CONTENTS_BYTES = 128 << 20  # of one member: it is held in memory
MAX_INFLATED_BYTES = 1 << 30  # of all members of one file, members of members among them


class Encoder(NamedTuple):
    """Who may have compressed something.

    level: 1, the fastest, to 9. deflated: yields a raw deflate stream of the bytes, in parts.
    """

    level: int
    deflated: Callable[[bytes], Iterator[bytes]]


def zlib_encoder(level: int, memory: int = zlib.DEF_MEM_LEVEL) -> Encoder:
    """Return zlib's. level: 1 to 9. memory: zlib's memLevel, 1 to 9."""
    return Encoder(level, partial(_deflated, level, memory))


def _deflated(level: int, memory: int, contents: bytes) -> Iterator[bytes]:
    deflate = zlib.compressobj(level, wbits=-zlib.MAX_WBITS, memLevel=memory)
    view = memoryview(contents)
    for start in range(0, len(view), SLICE_BYTES):
        if part := deflate.compress(view[start : start + SLICE_BYTES]):
            yield part
    yield deflate.flush()


# The default first, then what tools ask for: a short stream can be of several levels. What level 0
# makes depends on the parts in which it was given the contents.
_SETTINGS = (*((level, 8) for level in (6, 9, 1, 5, 8, 7, 4, 3, 2)), (6, 9), (9, 9))
ZLIB: tuple[Encoder, ...] = tuple(zlib_encoder(level, memory) for level, memory in _SETTINGS)


def is_made_by(encoder: Encoder, stream: Data, start: int, end: int, contents: bytes) -> bool:
    """Tell whether `encoder` makes of `contents` the bytes of `stream` from `start` to `end`."""
    for part in encoder.deflated(contents):
        behind = start + len(part)
        if behind > end or stream[start:behind] != part:
            return False
        start = behind
    return start == end


@dataclass(slots=True)
class Budget:
    """How much may still be inflated of what is in one file, at any depth."""

    left_bytes: int = MAX_INFLATED_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Inflation:
    """How compressed members of one container are looked into.

    recognised: tells from the first PEEKED_BYTES and the name whether contents are worth it.
    encoders: those that may have made a stream.
    """

    recognised: Callable[[bytes, str], bool]
    encoders: Sequence[Encoder]
    budget: Budget

    def worthwhile(self, data: Data, start: int, end: int, name: str) -> bool:
        """Tell whether the raw stream from `start` on may hold something of a known format."""
        inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        try:
            head = inflate.decompress(data[start : min(end, start + 2048)], PEEKED_BYTES)
        except zlib.error:
            return False
        return self.recognised(head, name)

    def inflated(self, data: Data, start: int, end: int) -> bytes | None:
        """Return what the raw stream from `start` to `end`, and nothing less, holds.

        None where it is more than may be. Raises Declined if it is no such stream.
        """
        most = min(MAX_CONTENTS_BYTES, self.budget.left_bytes)
        inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        parts: list[bytes] = []
        size = 0
        for at in range(start, end, SLICE_BYTES):
            part = data[at : min(end, at + SLICE_BYTES)]
            while part and size <= most:
                try:
                    parts.append(inflate.decompress(part, 1 << 20))
                except zlib.error as error:
                    raise Declined(str(error)) from None
                size += len(parts[-1])
                part = inflate.unconsumed_tail
        if size <= most:
            parts.append(inflate.flush())  # a match may have been cut where a part was full
            size += len(parts[-1])
        self.budget.left_bytes -= min(size, self.budget.left_bytes)
        if size > most:
            return None
        if not inflate.eof or inflate.unused_data:
            raise Declined("a compressed member does not end where it should")
        return b"".join(parts)

    def again(
        self,
        data: Data,
        start: int,
        end: int,
        contents: bytes,
        revised: bytes,
        *,
        level: int = 6,
    ) -> bytes | None:
        """Return `revised` as the maker of the stream from `start` to `end` would compress it.

        contents: what the stream holds. level: at which it is likely to have been made. None where
        no encoder proves to be its maker.
        """
        for encoder in sorted(self.encoders, key=lambda each: each.level != level):
            if is_made_by(encoder, data, start, end, contents):
                return b"".join(encoder.deflated(revised))
        return None
