"""Compressed streams, in and out, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator

import zstandard

from cas.store import Chunk
from re_client.status import Refused

LEVEL = 1  # of zstd: what is sent once is to cost less than the network it saves
MAX_WINDOW_BYTES = 32 << 20  # what a frame may ask a decoder to remember; zstd -19 asks 8 MiB
# A block of 4 bytes can stand for 128 KiB, so this much at a time is 32 MiB at the most.
SLICE_BYTES = 1024


async def compressed(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield `chunks` as one zstd frame.

    One, because clients were seen to stop after the first.
    """
    encoder = zstandard.ZstdCompressor(level=LEVEL).compressobj()
    async for chunk in chunks:
        if data := encoder.compress(chunk):
            yield data
    yield encoder.flush()


class Decoder:
    """Takes zstd frames apart as they come in pieces."""

    def __init__(self) -> None:
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def decode(self, data: Chunk) -> Iterator[bytes]:
        """Yield what `data`, the next piece, stands for, in parts of bounded size.

        Raises Refused where it is no zstd frame, or one that needs too much memory.
        """
        for at in range(0, len(data), SLICE_BYTES):
            part = bytes(data[at : at + SLICE_BYTES])
            while part:
                if self._frame is None:
                    self._frame = _decompressor()
                try:
                    decoded = self._frame.decompress(part)
                except zstandard.ZstdError as error:
                    raise Refused(
                        f"the data is not a zstd frame that can be read: {error}"
                    ) from None
                part = b""
                if self._frame.eof:
                    part = self._frame.unused_data
                    self._frame = None
                if decoded:
                    yield decoded

    def end(self) -> None:
        """Raise Refused if the last frame is cut short."""
        if self._frame is not None:
            raise Refused("the last zstd frame is cut short")


def _decompressor() -> zstandard.ZstdDecompressionObj:
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
