"""Blobs as zstd frames: whether that pays, and back again.

Source: RFC 8878 for the frame; docs/decisions/0014-compression-at-rest.md for the figures.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from threading import local

import zstandard

from cas.store import Chunk

PROBE_BYTES = 256 * 1024  # what is compressed to see whether the rest is worth it
LEVEL = 1  # -5 costs as much and saves a tenth less; 3 costs twice that and saves a fiftieth more
MAX_WINDOW_BYTES = 8 << 20  # RFC 8878, 3.1.1.1.2: what every decoder should take
UNPACKED_BYTES = 1 << 20  # most that is decoded at one time

_own = local()  # one compressor for each thread: making one takes longer than to compress 16 KiB


class Packer:
    """Passes a blob's bytes on, as one zstd frame if its first ones say that it pays.

    size: of the blob, in bytes. least_saved: part of the first PROBE_BYTES that has to be saved.
    packed: whether what is passed on is a frame; it is settled before the first byte is.
    """

    def __init__(self, size: int, *, least_saved: float) -> None:
        self.packed = False
        self._size = size
        self._probe_bytes = min(size, PROBE_BYTES)
        self._most = int(self._probe_bytes * (1 - least_saved))
        self._held = bytearray()
        self._settled = False
        self._frame: zstandard.ZstdCompressionObj | None = None

    def add(self, data: Chunk) -> Chunk:
        """Return what is to be stored of the blob's next bytes, and of those that were held."""
        if self._settled:
            return self._frame.compress(data) if self._frame else data
        if self._held or len(data) < self._probe_bytes:
            self._held += data
            if len(self._held) < self._probe_bytes:
                return b""
            data, self._held = bytes(self._held), bytearray()
        return self._settle(memoryview(data))

    def end(self, *, complete: bool) -> bytes:
        """Return what is left. complete: as many bytes were added as the blob has."""
        if self._frame is not None and complete:
            return self._frame.flush()
        return bytes(self._held)

    def _settle(self, data: memoryview) -> Chunk:
        self._settled = True
        if self._size <= PROBE_BYTES:
            whole = _own_compressor().compress(data)
            self.packed = len(whole) <= self._most
            return whole if self.packed else data
        frame = _compressor().compressobj(size=self._size)
        begun = frame.compress(data[:PROBE_BYTES])
        begun += frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        if len(begun) > self._most:
            return data
        self.packed = True
        self._frame = frame
        return begun + frame.compress(data[PROBE_BYTES:])


def unpacked(stored: Generator[bytes], size: int) -> Generator[bytes]:
    """Yield the bytes of the frame that `stored` comes to, in chunks of UNPACKED_BYTES at most.

    size: what the frame should have. Raises ValueError in place of the first chunk that cannot be
    right, and what `stored` raises; closes `stored`.
    """
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    with closing(stored):
        parts = _Parts(stored)
        reader = decoder.stream_reader(parts, read_size=UNPACKED_BYTES)  # type: ignore[arg-type]  # it needs `read` alone
        left = size
        while left:
            chunk = _read(reader, min(left, UNPACKED_BYTES))
            left -= len(chunk)
            if not chunk:
                raise ValueError(f"its frame ends {left} bytes before the blob does")
            if not left and _read(reader, 1):  # which also compares the frame's own checksum
                raise ValueError("its frame goes on after the blob's end")
            yield chunk


def _read(reader: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    try:
        return reader.read(size)
    except zstandard.ZstdError as error:
        raise ValueError(f"its frame cannot be decoded: {error}") from None


class _Parts:
    """An iterator as zstandard wants its sources."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def read(self, size: int) -> bytes:
        """Return the next part, which is not larger than `size`; nothing at the end."""
        return next(self._parts, b"")


def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)


def _own_compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_own, "compressor"):
        _own.compressor = _compressor()
    compressor: zstandard.ZstdCompressor = _own.compressor
    return compressor
