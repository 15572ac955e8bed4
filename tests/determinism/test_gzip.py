from __future__ import annotations

import gzip
import io
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from determinism.formats.gzip import rewrite
from tests.determinism.gzips import (
    AFTER,
    BEFORE,
    BEGUN,
    ENDED,
    INSIDE,
    TEXT,
    block,
    by_program,
    in_pieces,
    member,
    tar_gz,
    time_of,
)

MIB = 1 << 20
HELD_BYTES = 8 * MIB  # what checking a file may take beside it: 1 MiB a step, and zlib's own


def rewritten(data: bytes) -> bytes:
    return rewrite(data, begun=BEGUN, ended=ENDED)


def only_the_time_is_zero(before: bytes, after: bytes) -> bool:
    return after == before[:4] + bytes(4) + before[8:] and time_of(before) != 0


WRITTEN: dict[str, Callable[[], bytes]] = {
    "a member": member,
    "with a name": lambda: member(name=b"input.txt"),
    "with a comment": lambda: member(name=b"n", comment=b"said"),
    "stored": lambda: member(level=0),
    "empty": lambda: member(b""),
    "Python's gzip": lambda: gzip.compress(TEXT, mtime=INSIDE),
    "a tar file": tar_gz,
    "joined blocks": in_pieces,
    "two members": lambda: member() + member(b"more"),
}


@pytest.mark.parametrize("make", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_time_inside_the_window_is_zeroed_and_nothing_else(make: Callable[[], bytes]) -> None:
    data = make()
    canonical = rewritten(data)
    assert only_the_time_is_zero(data, canonical)
    assert gzip.decompress(canonical) == gzip.decompress(data)


@pytest.mark.parametrize("arguments", [[], ["-1"], ["--best"], ["--rsyncable"]], ids=str)
def test_what_the_program_gzip_writes_is_brought_to_one_form(
    tmp_path: Path, arguments: list[str]
) -> None:
    data = by_program(tmp_path, *arguments)
    assert time_of(data) == INSIDE
    canonical = rewritten(data)
    assert only_the_time_is_zero(data, canonical)
    with gzip.open(io.BytesIO(canonical)) as file:
        assert file.read() == TEXT


def test_without_a_time_there_is_nothing_to_do(tmp_path: Path) -> None:
    data = by_program(tmp_path, "--no-name")
    assert time_of(data) == 0
    assert rewritten(data) == data


@pytest.mark.parametrize("time", [0, 1, BEFORE, AFTER, 0xFFFFFFFF])
def test_a_time_outside_the_window_is_a_files_own_and_stays(time: int) -> None:
    # Only what the action itself wrote is touched, not a file that it passed on.
    data = member(time=time)
    assert rewritten(data) == data


@pytest.mark.parametrize("time", [int(BEGUN), INSIDE, int(ENDED)])
def test_the_window_has_both_its_ends(time: int) -> None:
    assert time_of(rewritten(member(time=time))) == 0


def test_the_second_in_which_the_window_begins_is_in_it() -> None:
    # The time's grain is a second: a file written just after the beginning has an earlier one.
    assert time_of(rewrite(member(time=int(BEGUN)), begun=BEGUN + 0.9, ended=ENDED)) == 0


def test_a_header_with_a_checksum_is_left() -> None:
    # RFC 1952: FHCRC covers the time.
    data = member(header_sum=True, name=b"n")
    assert gzip.decompress(data) == TEXT
    assert rewritten(data) == data


def test_blocks_of_bgzf_are_left() -> None:
    data = block(TEXT) + block(b"more") + block(b"")
    assert gzip.decompress(data) == TEXT + b"more"
    assert rewritten(data) == data


def test_the_times_of_later_members_are_left() -> None:
    data = member() + member(b"more")
    canonical = rewritten(data)
    assert time_of(canonical[len(member()) :]) == INSIDE


FAULTY = {
    "nothing": b"",
    "less than a header": member()[:9],
    "no data": member()[:10],
    "half": member()[: len(member()) // 2],
    "no checksum": member()[:-8],
    "no length": member()[:-1],
    "a second member cut short": member() + member()[:-3],
    "a second header cut short": member() + member()[:5],
    "garbage behind": member() + b"garbage",
    "zeros behind": member() + bytes(512),
    "a wrong checksum": member()[:-8] + bytes(4) + member()[-4:],
    "a wrong length": member()[:-4] + bytes(4),
    "no deflate": member()[:10] + b"\xff" * 50,
    "another method": member()[:2] + b"\x07" + member()[3:],
    "a reserved flag": member()[:3] + b"\x20" + member()[4:],
    "something else": b"PK\3\4" + bytes(50),
}


@pytest.mark.parametrize("data", FAULTY.values(), ids=FAULTY.keys())
def test_what_is_not_wholly_gzip_is_told(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - zlib words it
        rewritten(data)


def test_a_bomb_is_checked_in_bounded_memory() -> None:
    deflate = zlib.compressobj(9, wbits=31)
    zeros = bytes(MIB)
    bomb = b"".join(deflate.compress(zeros) for _ in range(64)) + deflate.flush()
    bomb = bomb[:4] + INSIDE.to_bytes(4, "little") + bomb[8:]
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        canonical = rewritten(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < HELD_BYTES
    assert only_the_time_is_zero(bomb, canonical)


def test_many_members_are_checked_without_copying_the_rest_for_each() -> None:
    # 60,000 members: were the rest copied for each, this would copy 40 GB.
    data = member(b"a") * 60_000
    assert only_the_time_is_zero(data, rewritten(data))


files = strategies.lists(
    strategies.builds(
        member,
        strategies.binary(max_size=300) | strategies.just(TEXT * 30),
        time=strategies.sampled_from([0, BEFORE, INSIDE, AFTER]),
        name=strategies.sampled_from([b"", b"a name"]),
        comment=strategies.sampled_from([b"", b"a comment"]),
        extra=strategies.sampled_from([b"", b"BC\2\0\7\0"]),
        header_sum=strategies.booleans(),
        level=strategies.sampled_from([0, 1, 9]),
    ),
    min_size=1,
    max_size=3,
).map(b"".join)


@settings(max_examples=150, deadline=None, database=None)
@given(files)
def test_rewriting_is_idempotent_and_keeps_length_and_contents(data: bytes) -> None:
    canonical = rewritten(data)
    assert rewritten(canonical) == canonical
    assert len(canonical) == len(data)
    assert canonical[:4] + canonical[8:] == data[:4] + data[8:]
    assert gzip.decompress(canonical) == gzip.decompress(data)
    assert time_of(canonical) in {0, time_of(data)}


@settings(max_examples=150, deadline=None, database=None)
@given(files, strategies.data())
def test_whatever_the_bytes_are_they_are_refused_or_decompress_to_the_same(
    data: bytes, draw: strategies.DataObject
) -> None:
    at = draw.draw(strategies.integers(0, len(data) - 1))
    damaged = (
        data[:at] + bytes([data[at] ^ draw.draw(strategies.integers(1, 255))]) + data[at + 1 :]
    )
    try:
        canonical = rewritten(damaged)
    except ValueError:
        return
    assert canonical == damaged or gzip.decompress(canonical) == gzip.decompress(damaged)
