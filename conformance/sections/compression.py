"""ByteStream's compressed blobs: each rule holds for every announced compressor."""

from __future__ import annotations

import asyncio
import zlib

import brotli
import zstandard
from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.compressing import CODECS, Codec, announced
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Requests, Target, piece, unique
from conformance.violation import Violation, expect, refused
from protos import remote_execution_pb2 as reapi

check = Section("compression", (needs.cache, needs.compression))

AT_ONCE_SECONDS = 5
SOURCE_UPLOADS = "ContentAddressableStorage, l.246-269"


def _compressible(size: int = 50_000) -> bytes:
    return unique(50) + b"compress me " * (size // 12)


async def _read(target: Target, codec: Codec, digest: reapi.Digest, *, offset: int = 0) -> bytes:
    """Return what a compressed read comes to; raise Violation if it cannot be decompressed."""
    raw = await target.read(target.read_name(digest, compressor=codec.name), offset=offset)
    try:
        return codec.decompress(raw)
    except (zstandard.ZstdError, zlib.error, brotli.error) as error:
        raise Violation(f"{len(raw)} bytes are no {codec.name}: {error}") from error


async def _write(target: Target, codec: Codec, digest: reapi.Digest, raw: bytes) -> int:
    return await target.write(target.write_name(digest, compressor=codec.name), raw)


@check(
    MUST,
    "A blob that is written compressed is stored, and read uncompressed.",
    source=SOURCE_UPLOADS,
)
async def what_is_written_compressed_is_read(target: Target) -> None:
    for codec in announced(target):
        for data in (_compressible(), unique(200_000)):
            await _write(target, codec, target.digest(data), codec.compress(data))
            expect(await target.fetch(target.digest(data)) == data, f"{codec.name}: other bytes")


@check(
    MUST,
    "A blob is read in every announced compressor, however it was written.",
    source="ContentAddressableStorage, l.324-326",
)
async def what_is_stored_is_read_compressed(target: Target) -> None:
    for codec in announced(target):
        for data in (_compressible(), unique(200_000), unique(1)):
            digest = await target.put_one(data)
            expect(await _read(target, codec, digest) == data, f"{codec.name}: other bytes")


@check(
    MUST,
    "A blob that was written in one compressor is read in every other.",
    source="ContentAddressableStorage, l.324-326",
)
async def compressors_mix(target: Target) -> None:
    for written in announced(target):
        data = _compressible()
        await _write(target, written, target.digest(data), written.compress(data))
        for read in announced(target):
            got = await _read(target, read, target.digest(data))
            expect(got == data, f"{written.name} to {read.name}: other bytes")


@check(
    MUST,
    "Large blobs are written and read compressed.",
    source=SOURCE_UPLOADS,
)
async def large_blobs_are_compressed(target: Target) -> None:
    for codec in announced(target):
        data = unique(3 << 20) + _compressible(3 << 20)
        digest = target.digest(data)
        await _write(target, codec, digest, codec.compress(data))
        expect(await _read(target, codec, digest) == data, f"{codec.name}: other bytes")


@check(
    MUST,
    "The empty blob is read compressed, uploaded or not.",
    source="ContentAddressableStorage, l.342-344 and l.324-326",
)
async def the_empty_blob_is_read_compressed(target: Target) -> None:
    for codec in announced(target):
        empty = target.digest(b"")
        raw = await target.read(target.read_name(empty, compressor=codec.name))
        expect(not raw or codec.decompress(raw) == b"", f"{codec.name}: the empty blob has bytes")


@check(
    MUST,
    "The empty blob can be written compressed.",
    source="ContentAddressableStorage, l.342-344",
)
async def the_empty_blob_is_written_compressed(target: Target) -> None:
    for codec in announced(target):
        await _write(target, codec, target.digest(b""), codec.compress(b""))


@check(
    MUST,
    "A compressed write of a blob that is there already succeeds, with committed_size -1.",
    source="ContentAddressableStorage, l.277-283",
)
async def a_compressed_write_of_what_is_there_says_so(target: Target) -> None:
    for codec in announced(target):
        data = _compressible()
        digest = await target.put_one(data)
        committed = await _write(target, codec, digest, codec.compress(data))
        expect(committed == -1, f"{codec.name}: committed_size {committed}")


@check(
    MUST,
    "A compressed write of a blob that is there already ends at once.",
    source="ContentAddressableStorage, l.277-283",
    seconds=AT_ONCE_SECONDS,
)
async def a_compressed_write_of_what_is_there_ends_at_once(target: Target) -> None:
    for codec in announced(target):
        data = unique(200_000)
        digest = await target.put_one(data)
        name = target.write_name(digest, compressor=codec.name)
        reply = await target.send(methods.WRITE, _beginning(name, codec.compress(data)[:1000]))
        expect(reply.committed_size == -1, f"{codec.name}: committed_size {reply.committed_size}")


async def _beginning(name: str, data: bytes) -> Requests:
    """Send one message, and leave the stream open."""
    yield piece(name, data)
    await asyncio.Event().wait()


@check(
    SHOULD,
    "A compressed write's committed_size is the compressed bytes that were sent, or -1 if the blob "
    "was there.",
    source="ContentAddressableStorage, l.262-269; bytestream.proto, WriteResponse",
)
async def committed_bytes_are_compressed_bytes(target: Target) -> None:
    for codec in announced(target):
        data = _compressible()
        raw = codec.compress(data)
        committed = await _write(target, codec, target.digest(data), raw)
        said = f"{codec.name}: committed_size {committed} for {len(raw)} compressed bytes"
        expect(committed in {len(raw), -1}, said)


@check(
    MUST,
    "A compressed write of bytes that decompress to something else is INVALID_ARGUMENT.",
    source="ContentAddressableStorage, l.258-260",
)
async def another_blob_is_refused(target: Target) -> None:
    for codec in announced(target):
        named = target.digest(unique(5000))
        with refused(StatusCode.INVALID_ARGUMENT):
            await _write(target, codec, named, codec.compress(unique(5000)))
        expect(not await target.has(named), "there is a blob under the wrong name now")


@check(
    MUST,
    "A compressed write of fewer or more bytes than the uncompressed size in the name is "
    "INVALID_ARGUMENT.",
    source="ContentAddressableStorage, l.258-260",
)
async def another_size_is_refused(target: Target) -> None:
    for codec in announced(target):
        for change in (1, -1):
            data = unique(5000)
            right = target.digest(data)
            wrong = reapi.Digest(hash=right.hash, size_bytes=right.size_bytes + change)
            with refused(StatusCode.INVALID_ARGUMENT):
                await _write(target, codec, wrong, codec.compress(data))
            expect(not await target.has(wrong), "there is a blob under the wrong size now")


@check(
    MUST,
    "A compressed write of bytes that are not compressed is refused, and nothing is stored.",
    source="ContentAddressableStorage, l.258-260",
)
async def plain_bytes_are_refused(target: Target) -> None:
    for codec in announced(target):
        data = b"\xff\xfe" + unique(5000)
        digest = target.digest(data)
        with refused():
            await _write(target, codec, digest, data)
        expect(not await target.has(digest), "the compressed bytes are kept as the blob")


@check(
    MUST,
    "A compressed write that ends in the middle of the compressed data is refused.",
    source="ContentAddressableStorage, l.258-260",
)
async def half_a_frame_is_refused(target: Target) -> None:
    for codec in announced(target):
        data = unique(5000)
        digest, raw = target.digest(data), codec.compress(data)
        with refused():
            await _write(target, codec, digest, raw[: len(raw) // 2])
        expect(not await target.has(digest), "the blob is there")


@check(
    SHOULD,
    "A compressed write of what cannot be decompressed is INVALID_ARGUMENT: no client is to try "
    "it again.",
    source="ContentAddressableStorage, l.258-260 and l.283-287",
)
async def what_cannot_be_decompressed_blames_the_client(target: Target) -> None:
    for codec in announced(target):
        data = unique(5000)
        raw = codec.compress(data)
        for wrong in (b"\xff\xfe" + data, raw[: len(raw) // 2]):
            with refused(StatusCode.INVALID_ARGUMENT):
                await _write(target, codec, target.digest(data), wrong)


@check(
    MUST,
    "A compressed write's later offsets add compressed lengths to the first; any other is an "
    "error.",
    source="ContentAddressableStorage, l.262-269; bytestream.proto, WriteRequest.write_offset",
)
async def compressed_offsets_are_checked(target: Target) -> None:
    for codec in announced(target):
        data = _compressible()
        raw = codec.compress(data)
        name = target.write_name(target.digest(data), compressor=codec.name)
        half = len(raw) // 2
        requests = [piece(name, raw[:half]), piece(name, raw[half:], offset=half + 1, finish=True)]
        with refused():
            await target.send(methods.WRITE, requests)


@check(
    MUST,
    "Names of compressed writes may have optional metadata behind the size.",
    source="ContentAddressableStorage, l.248 and l.243-244",
)
async def compressed_names_may_have_metadata(target: Target) -> None:
    for codec in announced(target):
        data = _compressible()
        digest = target.digest(data)
        name = target.write_name(digest, compressor=codec.name) + "/notes.txt"
        await target.write(name, codec.compress(data))
        expect(await target.has(digest), f"{codec.name}: the blob is missing")


@check(
    MUST,
    "A compressed read begins at read_offset of the uncompressed bytes.",
    source="ContentAddressableStorage, l.314-315",
)
async def compressed_reads_begin_at_their_offset(target: Target) -> None:
    for codec in announced(target):
        data = _compressible()
        digest = await target.put_one(data)
        for offset in (1, len(data) // 2, len(data) - 1):
            got = await _read(target, codec, digest, offset=offset)
            said = f"{codec.name}: {len(got)} bytes from {offset} on, of {len(data)}"
            expect(got == data[offset:], said)


@check(
    SHOULD,
    "A compressed read from the very end is empty, and no error.",
    source="ContentAddressableStorage, l.314-315; bytestream.proto, ReadRequest.read_offset",
)
async def compressed_reads_may_begin_at_the_end(target: Target) -> None:
    for codec in announced(target):
        data = _compressible()
        name = target.read_name(await target.put_one(data), compressor=codec.name)
        raw = await target.read(name, offset=len(data))
        expect(not raw or codec.decompress(raw) == b"", "there are bytes behind the end")


@check(
    MUST,
    "A compressed read from beyond the end, or from before the beginning, is OUT_OF_RANGE.",
    source="ContentAddressableStorage, l.314-315; bytestream.proto, ReadRequest.read_offset",
)
async def compressed_offsets_are_in_range(target: Target) -> None:
    for codec in announced(target):
        data = _compressible()
        name = target.read_name(await target.put_one(data), compressor=codec.name)
        for offset in (len(data) + 1, -1):
            with refused(StatusCode.OUT_OF_RANGE):
                await target.read(name, offset=offset)


@check(
    MUST,
    "A compressed read with a read_limit is INVALID_ARGUMENT.",
    source="ContentAddressableStorage, l.316-317",
)
async def compressed_reads_have_no_limit(target: Target) -> None:
    for codec in announced(target):
        name = target.read_name(await target.put_one(_compressible()), compressor=codec.name)
        for limit in (1, 1 << 40):
            with refused(StatusCode.INVALID_ARGUMENT):
                await target.read(name, limit=limit)


@check(
    MUST,
    "A compressed read of a blob that is not there is NOT_FOUND.",
    source="google/rpc/code.proto, NOT_FOUND; bytestream.proto, Errors",
)
async def absent_blobs_are_not_found_compressed(target: Target) -> None:
    for codec in announced(target):
        with refused(StatusCode.NOT_FOUND):
            await _read(target, codec, target.digest(unique()))


@check(
    MUST,
    "A compressed read refuses a right hash with a wrong size.",
    source="Digest, l.1083-1085",
)
async def wrong_sizes_are_refused_compressed(target: Target) -> None:
    for codec in announced(target):
        stored = await target.put_one(_compressible())
        wrong = reapi.Digest(hash=stored.hash, size_bytes=stored.size_bytes + 1)
        with refused():
            await _read(target, codec, wrong)


@check(
    ROBUSTNESS,
    "Compressors that are not announced are refused, or work.",
    source="ContentAddressableStorage, l.253-256",
)
async def other_compressors_are_refused_or_work(target: Target) -> None:
    data = _compressible()
    digest = await target.put_one(data)
    for codec in CODECS:
        if codec in announced(target):
            continue
        try:
            expect(await _read(target, codec, digest) == data, f"{codec.name}: other bytes")
        except Refused as error:
            expect(error.code in BAD_INPUT, f"{error.code.name} was answered to {codec.name}")
    for name in ("nozip", "identity", "ZSTD", ""):
        with refused(*BAD_INPUT):
            await target.read(target.read_name(digest, compressor=name or "/"))
