"""The compression of everything that goes over ByteStream: one for a whole connection."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import brotli
import zstandard

from protos import remote_execution_pb2 as reapi

RAW = -zlib.MAX_WBITS  # RFC 1951, without a header


@dataclass(frozen=True, slots=True)
class Compression:
    """name: as it stands in resource names."""

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


def _unzstd(data: bytes) -> bytes:
    """Decompress all frames, one after the other."""
    unpacked = b""
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        unpacked += frame.decompress(data)
        data = frame.unused_data
    return unpacked


def _brotli(data: bytes) -> bytes:
    packed: bytes = brotli.compress(data)
    return packed


def _unbrotli(data: bytes) -> bytes:
    plain: bytes = brotli.decompress(data)
    return plain


def _deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=RAW)
    return stream.compress(data) + stream.flush()


# In the order in which Buck2 prefers them.
PREFERRED = {
    reapi.Compressor.ZSTD: Compression("zstd", zstandard.ZstdCompressor().compress, _unzstd),
    reapi.Compressor.BROTLI: Compression("brotli", _brotli, _unbrotli),
    reapi.Compressor.DEFLATE: Compression("deflate", _deflate, partial(zlib.decompress, wbits=RAW)),
}


def choose(announced: Iterable[reapi.Compressor.Value.ValueType]) -> Compression | None:
    """Return what is used with a server that announces `announced`; None is no compression."""
    served = set(announced)
    return next((codec for number, codec in PREFERRED.items() if number in served), None)
