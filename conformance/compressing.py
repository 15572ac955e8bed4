"""The compressors of the protocol, as a client uses them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import brotli
import zstandard

from conformance.target import Target
from protos import remote_execution_pb2 as reapi

_COMPRESSOR = reapi.Compressor


@dataclass(frozen=True, slots=True)
class Codec:
    """One compressor, there and back. name: as it stands in resource names."""

    value: reapi.Compressor.Value.ValueType
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]

    @property
    def name(self) -> str:
        return reapi.Compressor.Value.Name(self.value).lower()


def zstd(data: bytes) -> bytes:
    """Return `data` as one frame."""
    return zstandard.ZstdCompressor().compress(data)


def unzstd(data: bytes) -> bytes:
    """Return what is in all frames of `data`: servers may send several, RFC 8878, section 3."""
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    return reader.read()


def _deflate(data: bytes) -> bytes:
    compressing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressing.compress(data) + compressing.flush()


def _inflate(data: bytes) -> bytes:
    return zlib.decompress(data, wbits=-zlib.MAX_WBITS)


def _brotli(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=4))


def _unbrotli(data: bytes) -> bytes:
    return bytes(brotli.decompress(data))


CODECS = (
    Codec(_COMPRESSOR.ZSTD, zstd, unzstd),
    Codec(_COMPRESSOR.DEFLATE, _deflate, _inflate),
    Codec(_COMPRESSOR.BROTLI, _brotli, _unbrotli),
)


def announced(target: Target) -> list[Codec]:
    """Return the compressors that the server announces for ByteStream."""
    return [codec for codec in CODECS if codec.value in target.cache.supported_compressors]


def announced_for_batches(target: Target) -> list[Codec]:
    values = target.cache.supported_batch_update_compressors
    return [codec for codec in CODECS if codec.value in values]
