"""The protocol's compressors, from the side of a client, and streams that claim too much."""

from __future__ import annotations

import zlib

import brotli
import zstandard

# A frame of 17 bytes whose header claims a content of 2 GiB: magic number, a descriptor that says
# "8 bytes of content size, single segment", the size, then one run-length block.
ZSTD_CLAIMS_2_GIB = bytes.fromhex("28b52ffd") + b"\xe0" + (2 << 30).to_bytes(8, "little") + bytes(4)
RUN_BYTES = 128 << 10
RUN = (RUN_BYTES << 3 | 1 << 1).to_bytes(3, "little") + b"a"  # a run-length block
RUNS_HEADER = bytes.fromhex("28b52ffd") + b"\x00\x38"  # no content size, a window of 128 KiB


def zstd_run(size: int) -> bytes:
    """Return a zstd frame, without its end, of `size` bytes in run-length blocks of 4 bytes."""
    return RUNS_HEADER + RUN * (size // RUN_BYTES)


def pack(compressor: str, data: bytes, *, level: int = 3) -> bytes:
    match compressor:
        case "zstd":
            return zstandard.ZstdCompressor(level=level).compress(data)
        case "deflate":
            stream = zlib.compressobj(level, wbits=-15)
            return stream.compress(data) + stream.flush()
        case "brotli":
            packed: bytes = brotli.compress(data, quality=level)
            return packed
        case _:
            raise AssertionError(compressor)


def unpack(compressor: str, data: bytes) -> bytes:
    """Decompress what has to be one stream and nothing behind it."""
    match compressor:
        case "zstd":
            frame = zstandard.ZstdDecompressor().decompressobj()
            unpacked = frame.decompress(data)
            assert frame.eof
            assert not frame.unused_data
            return unpacked
        case "deflate":
            stream = zlib.decompressobj(wbits=-15)
            unpacked = stream.decompress(data)
            assert stream.eof
            assert not stream.unused_data
            return unpacked
        case "brotli":
            plain: bytes = brotli.decompress(data)  # raises where anything follows
            return plain
        case _:
            raise AssertionError(compressor)
