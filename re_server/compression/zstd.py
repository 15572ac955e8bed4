"""Zstandard. Source: RFC 8878."""

from __future__ import annotations

from collections.abc import Iterator

import zstandard

from cas.store import Chunk
from protos import remote_execution_pb2 as reapi
from re_client.status import Refused
from re_server.compression.codec import PART_BYTES, Codec, Decoder, Encoder

# What is sent once is to cost less than the network it saves. Of object files, archives and
# sources level 3 leaves 10 to 20 % less, in twice to four times the time.
LEVEL = 1
MAX_WINDOW_BYTES = 32 << 20  # what a frame may ask a decoder to remember; zstd -19 asks 8 MiB
# How much is decoded at a time: a block of 4 bytes can stand for 128 KiB, so these are 32 MiB at
# the most, for large blobs, and 1 MiB for the smallest, of which one call can bring thousands.
SLICE_BYTES, LEAST_SLICE_BYTES = 1024, 32


class Zstd(Codec):
    """One frame on the way out, since clients were seen to stop after the first; any way in."""

    name = "zstd"
    number = reapi.Compressor.ZSTD

    def encoder(self, size: int) -> Encoder:
        return _Encoder(size)

    def decoder(self, part_bytes: int = PART_BYTES) -> Decoder:
        return _Decoder(part_bytes)


class _Encoder(Encoder):
    def __init__(self, size: int) -> None:
        self._frame = zstandard.ZstdCompressor(level=LEVEL).compressobj(size=size)

    def encode(self, data: bytes) -> bytes:
        return self._frame.compress(data)

    def end(self) -> bytes:
        return self._frame.flush()


class _Decoder(Decoder):
    def __init__(self, part_bytes: int) -> None:
        self._slice_bytes = max(LEAST_SLICE_BYTES, min(SLICE_BYTES, part_bytes // 64))
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def decode(self, data: Chunk) -> Iterator[bytes]:
        for at in range(0, len(data), self._slice_bytes):
            part = bytes(data[at : at + self._slice_bytes])
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
        if self._frame is not None:
            raise Refused("the last zstd frame is cut short")


def _decompressor() -> zstandard.ZstdDecompressionObj:
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
