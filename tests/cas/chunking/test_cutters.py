"""Where blobs are cut: as other implementations cut, and however their bytes come in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import cycle, pairwise

import pytest
from hypothesis import given, settings as examples, strategies as st

from cas.chunking.cutter import Chunking
from cas.chunking.fast_cdc import MASKS, FastCdc
from cas.chunking.gear import BLOCK_BYTES, GEAR
from cas.chunking.rep_max_cdc import RepMaxCdc

KIB = 1 << 10
MIB = 1 << 20


def stream(size: int, seed: bytes = b"holdfast") -> bytes:
    return hashlib.shake_128(seed).digest(size)


def sizes(chunking: Chunking, data: bytes, steps: Sequence[int] = (MIB,)) -> list[int]:
    """Return the sizes of the chunks of `data`, which is given in pieces of `steps`, repeated."""
    cutter = chunking.cutter()
    found: list[int] = []
    at = 0
    for step in cycle(steps):
        if at >= len(data):
            return found + cutter.finish()
        found += cutter.add(data[at : at + step])
        at += step
    raise AssertionError


# What other implementations make of the start of `stream`. FastCDC: the crate fastcdc 3.2.1,
# v2020, level 2, which the specification names, and which gives the numbers of its
# fastcdc2020_test_vectors.txt, as FastCdc does. RepMaxCDC: github.com/buildbarn/go-cdc 0.0.10.
KNOWN: list[tuple[Chunking, list[int]]] = [
    (
        FastCdc(KIB),
        [1303, 1444, 1033, 445, 1083, 1081, 1449, 1284, 1078, 1252, 1199, 907, 1368, 75],
    ),
    (
        FastCdc(16 * KIB, seed=666),
        [15273, 26107, 19794, 18451, 27183, 17335, 27199, 15687, 21755, 11216],
    ),
    (FastCdc(), [622758, 591867, 600703, 308103, 720400, 432344, 553279, 612570, 557977]),
    (FastCdc(MIB, seed=(1 << 32) - 1), [1147201, 1201704, 1050296, 1423676, 177124]),
    (
        RepMaxCdc(64, 512),
        [87, 64, 67, 65, 85, 67, 77, 73, 64, 120, 72, 88, 73, 111, 127, 75, 100, 85],
    ),
    (RepMaxCdc(1000, 0), [1000, 1000, 1000, 1000, 1001]),
    (
        RepMaxCdc(2048, 16384),
        [2445, 3501, 2816, 2905, 2224, 2545, 2563, 2685, 3922, 2092, 2302],
    ),
    (
        RepMaxCdc(2048, 1000),
        [2445, 2497, 2423, 2103, 2199, 2784, 2083, 2465, 2685, 2692, 2956, 2668],
    ),
    (
        RepMaxCdc(),
        [
            *(429289, 326146, 402947, 268396, 311482, 473098, 370347),
            *(279619, 310599, 455702, 488414, 494666, 389296),
        ],
    ),
]


@pytest.mark.parametrize(("chunking", "known"), KNOWN, ids=str)
def test_cuts_are_those_of_other_implementations(chunking: Chunking, known: list[int]) -> None:
    assert sizes(chunking, stream(sum(known))) == known


def fast_reference(chunking: FastCdc, data: bytes) -> Iterator[int]:
    """Cut as the paper's Algorithm 1 does, two bytes at a time, one byte after the other."""
    bits = chunking.average_bytes.bit_length() - 1
    while data:
        end = min(len(data), chunking.most_bytes)
        hash, cut = 0, end
        for at in range(min(end, chunking.least_bytes), end // 2 * 2):
            hash = (hash << 1) + (int(GEAR[data[at]]) ^ chunking.seed) & (1 << 64) - 1
            if not hash & MASKS[bits + (2 if at < chunking.average_bytes else -2)]:
                cut = at
                break
        yield cut
        data = data[cut:]


def rep_max_reference(chunking: RepMaxCdc, data: bytes) -> Iterator[int]:
    """Look at every place of the horizon anew for each chunk."""
    least = chunking.min_bytes
    hashes, hash = [0], 0
    for byte in data:
        hash = (hash << 1) + int(GEAR[byte]) & (1 << 64) - 1
        hashes.append(hash)
    start = 0
    while (left := min(len(data) - start, 2 * least + chunking.horizon_bytes)) >= 2 * least:
        last = left - least
        while (cut := max(range(least, last + 1), key=lambda at: hashes[start + at])) >= 2 * least:
            last = cut - least
        yield cut
        start += cut
    if start < len(data):
        yield len(data) - start


FAST = [FastCdc(KIB), FastCdc(KIB, seed=7), FastCdc(2 * KIB)]
REP_MAX = [RepMaxCdc(64, 0), RepMaxCdc(64, 100), RepMaxCdc(100, 800), RepMaxCdc(500, 501)]
CHUNKINGS: list[Chunking] = [*FAST, *REP_MAX]


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Return up to some 6 KiB: noise, one byte many times, and what was there before."""
    parts: list[bytes] = []
    for _ in range(draw(st.integers(0, 6))):
        size = draw(st.integers(0, 1100))
        match draw(st.sampled_from(["noise", "same", "again"])):
            case "noise":
                parts.append(stream(size, draw(st.binary(max_size=2))))
            case "same":
                parts.append(draw(st.binary(min_size=1, max_size=1)) * size)
            case _:
                parts.append(b"".join(parts)[-size:])
    return b"".join(parts)


@given(chunking=st.sampled_from(FAST), data=streams())
@examples(max_examples=30, deadline=None)
def test_fast_cdc_is_what_the_paper_says(chunking: FastCdc, data: bytes) -> None:
    assert sizes(chunking, data) == list(fast_reference(chunking, data))


@given(chunking=st.sampled_from(REP_MAX), data=streams())
@examples(max_examples=30, deadline=None)
def test_rep_max_cdc_is_the_largest_hash_again_and_again(chunking: RepMaxCdc, data: bytes) -> None:
    assert sizes(chunking, data) == list(rep_max_reference(chunking, data))


STEPS = st.lists(st.integers(1, 3000), min_size=1, max_size=4)


@given(chunking=st.sampled_from(CHUNKINGS), data=streams(), steps=STEPS)
@examples(max_examples=50, deadline=None)
def test_cuts_do_not_depend_on_the_pieces_that_come_in(
    chunking: Chunking, data: bytes, steps: list[int]
) -> None:
    assert sizes(chunking, data, steps) == sizes(chunking, data)


@pytest.mark.parametrize("chunking", [FastCdc(64 * KIB), RepMaxCdc(32 * KIB, 100 * KIB)], ids=str)
@pytest.mark.parametrize("steps", [(BLOCK_BYTES,), (BLOCK_BYTES - 63, 1), (7, 99_991)], ids=str)
def test_cuts_do_not_depend_on_pieces_of_about_a_block(
    chunking: Chunking, steps: Sequence[int]
) -> None:
    data = stream(700_001)
    assert sizes(chunking, data, steps) == sizes(chunking, data)


@given(chunking=st.sampled_from(CHUNKINGS), data=streams())
@examples(max_examples=30, deadline=None)
def test_chunks_are_the_stream_and_none_is_too_small_or_too_large(
    chunking: Chunking, data: bytes
) -> None:
    found = sizes(chunking, data)
    assert sum(found) == len(data)
    assert all(found)
    assert all(size >= chunking.least_bytes for size in found[:-1])
    assert all(size <= chunking.most_bytes for size in found)
    if isinstance(chunking, RepMaxCdc) and len(data) >= chunking.min_bytes:
        assert found[-1] >= chunking.min_bytes


@pytest.mark.parametrize("chunking", [FastCdc(4 * KIB), RepMaxCdc(2 * KIB, 16 * KIB)], ids=str)
def test_a_change_moves_the_cuts_around_it_alone(chunking: Chunking) -> None:
    before = stream(300_000)
    after = before[:100_000] + b"some more" + before[100_000:]
    assert len(chunks(chunking, after) - chunks(chunking, before)) < 8


def chunks(chunking: Chunking, data: bytes) -> set[bytes]:
    places = [0]
    for size in sizes(chunking, data):
        places.append(places[-1] + size)
    return {data[start:end] for start, end in pairwise(places)}


def test_the_gear_table_is_that_of_the_implementations_named() -> None:
    # As in the crate fastcdc and in go-cdc.
    assert [hex(value) for value in GEAR[:2]] == ["0x3b5d3c7d207e37dc", "0x784d68ba91123086"]
    assert len(GEAR) == 256
