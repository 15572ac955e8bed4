from __future__ import annotations

import itertools
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterable

import pytest
import zstandard
from hypothesis import given, settings, strategies

from re_client.status import Refused
from re_server.compression import MAX_WINDOW_BYTES, Decoder, compressed
from tests.cas.stores import MIB, in_chunks, noise

# A frame of 17 bytes whose header claims 2 GiB of content in a single segment.
CLAIMS_2_GIB = bytes.fromhex("28b52ffd") + b"\xe0" + (2 << 30).to_bytes(8, "little") + bytes(4)
# A run-length block of 4 bytes that stands for 128 KiB, and a header for any number of them.
RUN = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"a"
RUNS_HEADER = bytes.fromhex("28b52ffd") + b"\x00\x38"
END = bytes.fromhex("010000")  # an empty block that is the last
SKIPPED = bytes.fromhex("502a4d18") + (5).to_bytes(4, "little") + b"aside"
PART_BYTES = 34 * MIB  # what one part may have at the most, and what takes it apart holds beside it


def frame(data: bytes, *, level: int = 3) -> bytes:
    return zstandard.ZstdCompressor(level=level).compress(data)


def decoded(*pieces: bytes) -> bytes:
    decoder = Decoder()
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


async def packed(data: bytes, *, chunk: int = 70_000) -> list[bytes]:
    return [part async for part in compressed(in_chunks(data, chunk))]


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 300_000, 3 * MIB])
def test_a_frame_is_taken_apart_however_it_is_cut(size: int) -> None:
    data = noise(size // 2) + b"." * (size - size // 2)
    sent = frame(data)
    assert decoded(sent) == data
    assert decoded(*cut(sent, itertools.repeat(777))) == data
    assert decoded(*(sent[at : at + 1] for at in range(min(len(sent), 3000))), sent[3000:]) == data


def test_frames_that_follow_one_another_are_one_stream() -> None:
    first, second = noise(5000, 1), noise(50_000, 2)
    sent = frame(first) + frame(b"") + frame(second) + frame(b"")
    assert decoded(sent) == first + second
    assert decoded(*cut(sent, itertools.repeat(100))) == first + second


def test_frames_that_are_to_be_skipped_are() -> None:
    # RFC 8878, section 3.1.2: skippable frames may stand anywhere in a stream.
    sent = SKIPPED + frame(b"data") + SKIPPED
    assert decoded(sent) == decoded(*cut(sent, itertools.repeat(3))) == b"data"


def test_nothing_is_nothing() -> None:
    assert decoded() == decoded(b"") == decoded(frame(b"")) == b""


@pytest.mark.parametrize("left", [1, 3, 4, 5, 9, 100])
def test_a_frame_that_is_cut_short_is_told_at_the_end(left: int) -> None:
    sent = frame(noise(500))
    with pytest.raises(Refused, match="cut short"):
        decoded(sent[:left])
    with pytest.raises(Refused, match="cut short"):
        decoded(sent, sent[:left])


@pytest.mark.parametrize(
    "sent",
    [b"no zstd at all", bytes(100), RUNS_HEADER + b"\x07\0\0", b"\x28\xb5\x2f\xfc"],
)
def test_what_is_no_frame_is_refused(sent: bytes) -> None:
    with pytest.raises(Refused, match="zstd"):
        decoded(sent)


def test_garbage_behind_a_frame_is_refused() -> None:
    with pytest.raises(Refused):
        decoded(frame(b"data") + b"garbage")


def test_a_window_larger_than_the_bound_is_refused_before_memory_is_taken() -> None:
    window = zstandard.ZstdCompressionParameters(window_log=27)
    encoder = zstandard.ZstdCompressor(compression_params=window).compressobj()
    sent = encoder.compress(noise(MIB)) + encoder.flush()
    assert MAX_WINDOW_BYTES < 1 << 27
    with pytest.raises(Refused, match="memory"):
        decoded(sent)


def test_what_the_slowest_level_asks_for_is_within_the_bound() -> None:
    encoder = zstandard.ZstdCompressor(level=19).compressobj()
    data = noise(MIB)
    assert decoded(encoder.compress(data) + encoder.flush()) == data


def most_held(pieces: Iterable[bytes]) -> tuple[int, int]:
    """Take `pieces` apart, keeping nothing; return bytes decoded, and most bytes held."""
    decoder = Decoder()
    size = 0
    tracemalloc.start()
    try:
        for piece in pieces:
            for part in decoder.decode(piece):
                size += len(part)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return size, most


def in_little_memory(sent: bytes, more_mib: int) -> str:
    """Take `sent` apart where only `more_mib` MiB can be had; return what came of it."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.re_server.narrow", str(more_mib)],
        input=sent, capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.decode().strip()


def test_a_frame_of_17_bytes_that_claims_2_gib_takes_no_memory() -> None:
    assert len(CLAIMS_2_GIB) == 17
    with pytest.raises(Refused, match="memory"):
        decoded(CLAIMS_2_GIB)
    assert in_little_memory(CLAIMS_2_GIB, 16) == "refused"


def test_a_bomb_is_taken_apart_in_little_memory() -> None:
    assert in_little_memory(RUNS_HEADER + RUN * (4 << 10) + END, 160) == str(512 * MIB)


def test_a_bomb_comes_in_parts_of_bounded_size() -> None:
    # 256 MiB in 8 KiB: it is taken apart by so little at a time that a part has 32 MiB at most.
    bomb = RUNS_HEADER + RUN * (2 << 10)
    size, most = most_held([bomb])
    assert size == 256 * MIB
    assert most < 2 * PART_BYTES


async def test_what_is_compressed_is_one_frame() -> None:
    # Clients were seen to stop after the first frame.
    data = noise(MIB) + b"." * MIB
    parts = await packed(data)
    assert all(parts)
    sent = b"".join(parts)
    one = zstandard.ZstdDecompressor().decompressobj()
    assert one.decompress(sent) == data
    assert one.eof
    assert one.unused_data == b""
    assert decoded(*parts) == data


async def test_the_empty_blob_is_a_frame_too() -> None:
    # REAPI rule: the empty blob is present in compressed form as well.
    sent = b"".join(await packed(b""))
    assert sent
    assert zstandard.ZstdDecompressor().decompressobj().decompress(sent) == b""


async def test_compressing_holds_no_more_than_a_few_chunks() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for seed in range(64):
            yield noise(MIB, seed)

    tracemalloc.start()
    try:
        async for _ in compressed(chunks()):
            pass
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * MIB


@settings(max_examples=100, deadline=None, database=None)
@given(
    strategies.lists(strategies.binary(max_size=3000), max_size=4),
    strategies.lists(strategies.integers(1, 2000), max_size=20),
)
def test_whatever_is_sent_in_whatever_pieces_comes_out(
    contents: list[bytes], sizes: list[int]
) -> None:
    sent = b"".join(frame(data) for data in contents)
    assert decoded(*cut(sent, sizes)) == b"".join(contents)
