"""What every chunking function is to who cuts by it."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol


class ChunkingFunction(IntEnum):
    """A way to cut blobs, by its number in the protocol.

    Source: remote_execution.proto, message ChunkingFunction.
    """

    UNKNOWN = 0
    FAST_CDC_2020 = 1
    REP_MAX_CDC = 2


class Cutter(Protocol):
    """Where one stream is cut: its pieces in, the sizes of its chunks out.

    However the stream is divided into pieces, the sizes are the same, and their sum is the
    stream's size.
    """

    def add(self, piece: bytes) -> list[int]:
        """Take the next piece; return the sizes of the chunks that are settled by it, in order."""
        ...

    def finish(self) -> list[int]:
        """Return the sizes of the rest, once the stream has ended."""
        ...


class Chunking(Protocol):
    """A chunking function with its parameters, which are a frozen value."""

    @property
    def function(self) -> ChunkingFunction: ...

    @property
    def parameters(self) -> bytes:
        """What tells this from the same function with other parameters."""
        ...

    @property
    def least_bytes(self) -> int:
        """Bytes of every chunk of a blob but the last, at least."""
        ...

    @property
    def most_bytes(self) -> int:
        """Bytes of every chunk, at most."""
        ...

    @property
    def cut_from_bytes(self) -> int:
        """Blobs with fewer bytes stay whole."""
        ...

    def cutter(self) -> Cutter:
        """Return a cutter for one stream."""
        ...
