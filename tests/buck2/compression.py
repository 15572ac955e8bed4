"""The compression of everything that goes over ByteStream: one for a whole connection."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import zstandard

from protos import remote_execution_pb2 as reapi


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
    raise NotImplementedError("the server announced brotli: give this client a codec for it")


# In the order in which Buck2 prefers them.
PREFERRED = {
    reapi.Compressor.ZSTD: Compression("zstd", zstandard.ZstdCompressor().compress, _unzstd),
    reapi.Compressor.BROTLI: Compression("brotli", _brotli, _brotli),
    reapi.Compressor.DEFLATE: Compression("deflate", zlib.compress, zlib.decompress),
}


def choose(announced: Iterable[reapi.Compressor.Value.ValueType]) -> Compression | None:
    """Return what is used with a server that announces `announced`; None is no compression."""
    served = set(announced)
    return next((codec for number, codec in PREFERRED.items() if number in served), None)
