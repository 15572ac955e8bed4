"""Each codec of the server, against other implementations and against what may be sent to it."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable

import brotli
import pytest
import zstandard
from hypothesis import given, settings, strategies

from cas.digest import Digest
from cas.store import DigestMismatch
from protos import remote_execution_pb2 as reapi
from re_client.status import Refused
from re_server.batches import LEAST_PACKED_BYTES, packed_entries
from re_server.compression.codec import PART_BYTES, Codec
from re_server.compression.codecs import CODECS, codec_named, codec_numbered, preferred
from re_server.compression.stream import compressed
from re_server.compression.zstd import MAX_WINDOW_BYTES, Zstd
from tests.cas.stores import MIB, in_chunks, noise
from tests.compressors import RUNS_HEADER, ZSTD_CLAIMS_2_GIB, pack, unpack, zstd_run

END = bytes.fromhex("010000")  # an empty zstd block that is the last
SKIPPED = bytes.fromhex("502a4d18") + (5).to_bytes(4, "little") + b"aside"
MOST_PART_BYTES = 34 * MIB  # of what zstd gives at once, and what takes it apart holds beside it
BOMB_BYTES = 192 * MIB
SINGLE = ("deflate", "brotli")  # streams of which there is one


@pytest.fixture(params=CODECS, ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Codec:
    made: Codec = request.param
    return made


def decoded(codec: Codec, *pieces: bytes, part_bytes: int = PART_BYTES) -> bytes:
    decoder = codec.decoder(part_bytes)
    data = b"".join(part for piece in pieces for part in decoder.decode(piece))
    decoder.end()
    return data


def cut(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        if at >= len(data):
            break
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


async def streamed(codec: Codec, data: bytes, *, chunk: int = 70_000) -> list[bytes]:
    return [part async for part in compressed(codec, in_chunks(data, chunk), len(data))]


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 300_000, 3 * MIB])
def test_a_stream_is_taken_apart_however_it_is_cut(codec: Codec, size: int) -> None:
    data = noise(size // 2) + b"." * (size - size // 2)
    sent = pack(codec.name, data)
    assert decoded(codec, sent) == data
    assert decoded(codec, *cut(sent, itertools.repeat(777))) == data
    singly = (sent[at : at + 1] for at in range(min(len(sent), 3000)))
    assert decoded(codec, *singly, sent[3000:]) == data
    assert decoded(codec, sent, part_bytes=100) == data


async def test_what_is_compressed_is_one_stream_that_others_read(codec: Codec) -> None:
    # Clients were seen to stop after the first zstd frame.
    data = noise(MIB) + b"." * MIB
    for chunk in (5000, 70_000, MIB):
        parts = await streamed(codec, data, chunk=chunk)
        assert all(parts)
        assert unpack(codec.name, b"".join(parts)) == data
        assert decoded(codec, *parts) == data
    assert unpack(codec.name, codec.pack(data)) == data


async def test_the_empty_blob_is_a_stream_too(codec: Codec) -> None:
    # REAPI rule: the empty blob is present in compressed form as well.
    sent = b"".join(await streamed(codec, b""))
    assert sent
    assert unpack(codec.name, sent) == decoded(codec, sent) == b""


async def test_parts_on_the_way_out_fit_into_messages(codec: Codec) -> None:
    # Clients take 4 MiB in a message.
    parts = await streamed(codec, noise(9 * MIB), chunk=MIB)
    assert max(map(len, parts)) < 2 * MIB


@pytest.mark.parametrize("left", [1, 3, 4, 5, 9, 100])
def test_a_stream_that_is_cut_short_is_told_at_the_end(codec: Codec, left: int) -> None:
    sent = pack(codec.name, noise(500))
    with pytest.raises(Refused, match="cut short"):
        decoded(codec, sent[:left])
    with pytest.raises(Refused, match="cut short"):
        decoded(codec, sent[:-1])


@pytest.mark.parametrize("piece", [1, 10_000])
def test_data_behind_the_end_is_refused(codec: Codec, piece: int) -> None:
    sent = pack(codec.name, b"data" * 100)
    for more in (b"garbage", b"g", b"\0"):
        with pytest.raises(Refused, match=codec.name):
            decoded(codec, *cut(sent + more, itertools.repeat(piece)))


@pytest.mark.parametrize("name", SINGLE)
def test_of_deflate_and_brotli_a_second_stream_is_refused(name: str) -> None:
    sent = pack(name, b"data")
    with pytest.raises(Refused):
        decoded(codec_named(name), sent, sent)


def test_nothing_is_a_stream_of_zstd_alone() -> None:
    assert decoded(Zstd()) == decoded(Zstd(), b"") == b""
    for name in SINGLE:
        with pytest.raises(Refused, match="cut short"):
            decoded(codec_named(name))


WRONG = {
    "zstd": [b"no zstd at all", bytes(100), RUNS_HEADER + b"\x07\0\0", b"\x28\xb5\x2f\xfc"],
    # A reserved block type; a length that its complement does not match; a zlib header, a gzip one.
    "deflate": [b"\x07", b"\x01\x05\x00\x00\x00hello", zlib.compress(b"data"), b"\x1f\x8b\x08\0"],
    # A window beyond RFC 7932, of 2^30 bytes; a reserved bit.
    "brotli": [b"\x11\x1e" + bytes(20), b"\x11\x3f" + bytes(20), b"\xff" * 20],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_stream_is_refused(name: str) -> None:
    for sent in WRONG[name]:
        with pytest.raises(Refused, match=name):
            decoded(codec_named(name), sent)


def test_zstd_frames_that_follow_one_another_are_one_stream() -> None:
    first, second = noise(5000, 1), noise(50_000, 2)
    sent = b"".join(pack("zstd", data) for data in (first, b"", second, b""))
    assert decoded(Zstd(), sent) == first + second
    assert decoded(Zstd(), *cut(sent, itertools.repeat(100))) == first + second


def test_zstd_frames_that_are_to_be_skipped_are() -> None:
    # RFC 8878, section 3.1.2: skippable frames may stand anywhere in a stream.
    sent = SKIPPED + pack("zstd", b"data") + SKIPPED
    assert decoded(Zstd(), sent) == decoded(Zstd(), *cut(sent, itertools.repeat(3))) == b"data"


def test_a_zstd_frame_on_the_way_out_says_its_size() -> None:
    assert zstandard.frame_content_size(Zstd().pack(b"data" * 100)) == 400


def test_a_zstd_window_over_the_bound_is_refused_before_memory_is_taken() -> None:
    window = zstandard.ZstdCompressionParameters(window_log=27)
    encoder = zstandard.ZstdCompressor(compression_params=window).compressobj()
    sent = encoder.compress(noise(MIB)) + encoder.flush()
    assert MAX_WINDOW_BYTES < 1 << 27
    with pytest.raises(Refused, match="memory"):
        decoded(Zstd(), sent)


def test_what_the_slowest_settings_ask_for_is_within_the_bound() -> None:
    data = noise(MIB)
    encoder = zstandard.ZstdCompressor(level=19).compressobj()
    assert decoded(Zstd(), encoder.compress(data) + encoder.flush()) == data
    widest = brotli.compress(data, quality=3, lgwin=24)
    assert decoded(codec_named("brotli"), widest) == data
    assert decoded(codec_named("deflate"), pack("deflate", data, level=9)) == data


def most_held(codec: Codec, sent: bytes) -> tuple[int, int]:
    """Take `sent` apart, keeping nothing; return bytes decoded, and most bytes held by Python."""
    decoder = codec.decoder()
    size = 0
    tracemalloc.start()
    try:
        for part in decoder.decode(sent):
            size += len(part)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return size, most


@functools.cache
def bomb_of(codec: Codec) -> bytes:
    """Return BOMB_BYTES in one stream as short as the codec can write it."""
    if codec.name == "zstd":
        return zstd_run(BOMB_BYTES) + END
    return pack(codec.name, bytes(BOMB_BYTES), level=1)


def in_little_memory(codec: Codec, sent: bytes, more_mib: int) -> str:
    """Take `sent` apart where only `more_mib` MiB can be had; return what came of it."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.re_server.narrow", codec.name, str(more_mib)],
        input=sent, capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.decode().strip()


def test_a_frame_of_17_bytes_that_claims_2_gib_takes_no_memory() -> None:
    assert len(ZSTD_CLAIMS_2_GIB) == 17
    with pytest.raises(Refused, match="memory"):
        decoded(Zstd(), ZSTD_CLAIMS_2_GIB)
    assert in_little_memory(Zstd(), ZSTD_CLAIMS_2_GIB, 16) == "refused"


def test_a_bomb_is_taken_apart_in_little_memory(codec: Codec) -> None:
    assert in_little_memory(codec, bomb_of(codec), 160) == str(BOMB_BYTES)


def test_a_bomb_comes_in_parts_of_bounded_size(codec: Codec) -> None:
    size, most = most_held(codec, bomb_of(codec))
    assert size == BOMB_BYTES
    assert most < (2 * MOST_PART_BYTES if codec.name == "zstd" else 2 * MIB)


def test_a_blob_that_is_unpacked_stops_at_its_size(codec: Codec) -> None:
    bomb = bomb_of(codec)
    for size in (0, 10, 5000, MIB):
        digest = Digest.of(bytes(size))
        assert codec.unpack(pack(codec.name, bytes(size)), digest) == bytes(size)
        tracemalloc.start()
        try:
            with pytest.raises(DigestMismatch) as caught:
                codec.unpack(bomb, digest)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size < caught.value.found.size <= most
        if codec.name == "zstd" and size == MIB:
            assert most < MOST_PART_BYTES + 2 * size
        else:
            assert most < 4 * MIB + 2 * size


async def test_compressing_holds_no_more_than_a_few_chunks(codec: Codec) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for seed in range(12):
            yield noise(MIB, seed)

    tracemalloc.start()
    try:
        async for _ in compressed(codec, chunks(), 12 * MIB):
            pass
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * MIB


@settings(max_examples=60, deadline=None, database=None)
@given(
    strategies.sampled_from(CODECS),
    strategies.binary(max_size=9000),
    strategies.integers(1, 50),
    strategies.lists(strategies.integers(1, 2000), max_size=20),
)
def test_whatever_is_sent_in_whatever_pieces_comes_out(
    codec: Codec, content: bytes, times: int, sizes: list[int]
) -> None:
    data = content * times
    sent = pack(codec.name, data)
    assert decoded(codec, *cut(sent, sizes)) == data
    assert decoded(codec, *cut(codec.pack(data), sizes), part_bytes=len(data) + 1) == data
    assert codec.unpack(sent, Digest.of(data)) == data


@settings(max_examples=300, deadline=None, database=None)
@given(strategies.sampled_from(CODECS), strategies.binary(max_size=300), strategies.integers(0, 99))
def test_whatever_is_sent_is_taken_apart_or_refused(codec: Codec, sent: bytes, flip: int) -> None:
    damaged = bytearray(pack(codec.name, sent))
    damaged[flip % len(damaged)] ^= 1 << flip % 8
    for data in (sent, bytes(damaged)):
        try:
            codec.unpack(data, Digest.of(b"a" * 500))
        except (Refused, DigestMismatch):
            continue


def test_a_codec_is_found_by_its_name_and_its_number() -> None:
    for codec in CODECS:
        assert codec_named(codec.name) is codec_numbered(codec.number) is codec
        assert reapi.Compressor.Value.Name(codec.number) == codec.name.upper()
    for wrong in ("identity", "ZSTD", "gzip", ""):
        with pytest.raises(Refused, match="use one of zstd, brotli, deflate"):
            codec_named(wrong)
    with pytest.raises(Refused, match="use IDENTITY, ZSTD, BROTLI, DEFLATE"):
        codec_numbered(9)


def test_of_what_is_accepted_the_cheapest_is_preferred() -> None:
    zstd, brotli_, deflate = (int(codec.number) for codec in CODECS)
    cases: list[tuple[list[int], str]] = [
        ([deflate, brotli_, zstd], "zstd"),
        ([deflate, brotli_, 99], "brotli"),
        ([0, deflate], "deflate"),
    ]
    for accepted, name in cases:
        found = preferred(accepted)
        assert found is not None
        assert found.name == name
    assert preferred([]) is preferred([0, 99, -1]) is None


def entries_of(codec: Codec, *blobs: bytes) -> list[reapi.BatchReadBlobsResponse.Response]:
    packed = packed_entries({Digest.of(data): data for data in blobs}, codec)
    return [
        reapi.BatchReadBlobsResponse.FromString(packed[Digest.of(data)]).responses[0]
        for data in blobs
    ]


def test_an_entry_is_compressed_only_where_that_makes_it_smaller(codec: Codec) -> None:
    large, random, least = b"ab" * 5000, noise(5000), b"a" * LEAST_PACKED_BYTES
    packed, plain, fewest = entries_of(codec, large, random, least)
    assert packed.compressor == fewest.compressor == codec.number
    assert len(packed.data) < 1000
    assert unpack(codec.name, packed.data) == large
    assert (plain.compressor, plain.data) == (reapi.Compressor.IDENTITY, random)
    for entry, data in zip((packed, plain, fewest), (large, random, least), strict=True):
        digest = Digest.of(data)
        assert (entry.digest.hash, entry.digest.size_bytes) == (digest.hash, digest.size)
        assert not entry.HasField("status")


@pytest.mark.parametrize("data", [b"", b"a", b"a" * (LEAST_PACKED_BYTES - 1)], ids=len)
def test_a_tiny_entry_is_never_compressed(codec: Codec, data: bytes) -> None:
    (entry,) = entries_of(codec, data)
    assert (entry.compressor, entry.data) == (reapi.Compressor.IDENTITY, data)
