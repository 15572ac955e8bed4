"""Compressed bytes that say one thing and are another."""

from __future__ import annotations

import zlib

import brotli
from grpc import StatusCode

from conformance import needs
from conformance.check import ROBUSTNESS, Section
from conformance.compressing import Codec, announced, zstd
from conformance.memory import MIB, bounded_memory
from conformance.refusal import BAD_INPUT
from conformance.target import Target, unique
from conformance.violation import refused
from protos import remote_execution_pb2 as reapi

check = Section("robustness", (needs.cache, needs.compression))

ZSTD = [needs.compressor(reapi.Compressor.ZSTD)]
MOST_BYTES = 256 * MIB
LARGE_BYTES = 2 << 30
SOURCE = "ContentAddressableStorage, l.258-260"


def _frame(content_bytes: int, block: bytes) -> bytes:
    """Return a zstd frame that says it holds `content_bytes`, with one raw block.

    Source: RFC 8878, section 3.1.1: magic number, descriptor with an 8-byte content size in a
    single segment, the size, and a block header of 3 bytes.
    """
    last_raw_block = len(block) << 3 | 1
    return (
        b"\x28\xb5\x2f\xfd\xe0"
        + content_bytes.to_bytes(8, "little")
        + last_raw_block.to_bytes(3, "little")
        + block
    )


async def _write(target: Target, codec_name: str, digest: reapi.Digest, raw: bytes) -> None:
    await target.write(target.write_name(digest, compressor=codec_name), raw)


@check(
    ROBUSTNESS,
    "A zstd frame of 17 bytes that says it holds 2 GiB is refused, and nothing set aside for it.",
    source=SOURCE,
    needs=ZSTD,
)
async def frames_that_claim_much_are_refused(target: Target) -> None:
    frame = _frame(LARGE_BYTES, b"x")
    hash = target.digest(unique()).hash
    with bounded_memory(target, MOST_BYTES):
        for size in (1, 1000, LARGE_BYTES):
            with refused(*BAD_INPUT):
                await _write(target, "zstd", reapi.Digest(hash=hash, size_bytes=size), frame)


@check(
    ROBUSTNESS,
    "A zstd frame that says it holds fewer bytes than it does is refused.",
    source=SOURCE,
    needs=ZSTD,
)
async def frames_that_claim_little_are_refused(target: Target) -> None:
    data = unique(1000)
    with refused(*BAD_INPUT):
        await _write(target, "zstd", target.digest(data), _frame(10, data))


@check(
    ROBUSTNESS,
    "Bytes behind the end of a compressed blob are refused.",
    source=SOURCE,
)
async def bytes_behind_the_end_are_refused(target: Target) -> None:
    for codec in announced(target):
        data = unique(1000)
        with refused(*BAD_INPUT):
            raw = codec.compress(data) + b"\xff garbage \xff"
            await _write(target, codec.name, target.digest(data), raw)


def _bomb(codec: Codec) -> bytes:
    """Return 512 MiB of zeros, compressed to a few KiB or hundreds of them."""
    zeros, times = bytes(8 * MIB), 64
    if codec.value == reapi.Compressor.ZSTD:
        return zstd(zeros) * times
    if codec.value == reapi.Compressor.DEFLATE:
        # A full flush ends at a byte, and nothing behind it looks back: it may be repeated.
        deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        part = deflating.compress(zeros) + deflating.flush(zlib.Z_FULL_FLUSH)
        return part * times + deflating.flush()
    brotling = brotli.Compressor(quality=1)
    parts: list[bytes] = [brotling.process(zeros) for _ in range(times)]
    return b"".join([*parts, brotling.finish()])


@check(
    ROBUSTNESS,
    "A few bytes that unpack to 512 MiB where the name says 1000 are refused, and not unpacked.",
    source=SOURCE,
    seconds=60.0,
)
async def bombs_are_refused(target: Target) -> None:
    named = target.digest(unique(1000))
    for codec in announced(target):
        bomb = _bomb(codec)
        with bounded_memory(target, MOST_BYTES), refused(*BAD_INPUT):
            await _write(target, codec.name, named, bomb)


@check(
    ROBUSTNESS,
    "A zstd frame that wants a window of 2 GiB is refused, or its window not set aside.",
    source="RFC 8878, section 3.1.1.1.2",
    needs=ZSTD,
)
async def wide_windows_are_refused(target: Target) -> None:
    # Descriptor 0: a window descriptor follows; 0xa8 is 2 to the power of 31 bytes.
    frame = b"\x28\xb5\x2f\xfd\x00\xa8" + (8 | 1).to_bytes(3, "little") + b"x"
    hash = target.digest(unique()).hash
    with bounded_memory(target, MOST_BYTES), refused(*BAD_INPUT, StatusCode.UNIMPLEMENTED):
        await _write(target, "zstd", reapi.Digest(hash=hash, size_bytes=1), frame)
