from __future__ import annotations

import gzip
import io
import os
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from determinism import gzip_program
from determinism.deflate import ZLIB, Budget, Inflation
from determinism.format import Data, Declined, Edit, applied
from determinism.formats.gzip import FORMAT, edits
from tests.determinism.damage import damaged, made_canonical
from tests.determinism.made import AFTER, BEFORE, BEGUN, ENDED, INSIDE, WINDOW, canonical, run

TEXT = b"the quick brown fox jumps over the lazy dog\n" * 50
NAME_FLAG, HEADER_SUM_FLAG, EXTRA_FLAG, COMMENT_FLAG = 0x08, 0x02, 0x04, 0x10
MIB = 1 << 20
HELD_BYTES = 8 * MIB  # what checking a file may take beside it: 1 MiB a step, and zlib's own


def member(
    data: bytes = TEXT,
    *,
    time: int = INSIDE,
    name: bytes = b"",
    comment: bytes = b"",
    extra: bytes = b"",
    header_sum: bool = False,
    level: int = 6,
) -> bytes:
    """Return one gzip member. Source: RFC 1952, section 2.3."""
    flags = NAME_FLAG * bool(name) | COMMENT_FLAG * bool(comment)
    flags |= EXTRA_FLAG * bool(extra) | HEADER_SUM_FLAG * header_sum
    head = bytes([0x1F, 0x8B, 8, flags]) + time.to_bytes(4, "little") + bytes([0, 3])
    if extra:
        head += len(extra).to_bytes(2, "little") + extra
    head += b"".join(text + b"\0" for text in (name, comment) if text)
    if header_sum:
        head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    deflate = zlib.compressobj(level, wbits=-15)
    body = deflate.compress(data) + deflate.flush()
    return head + body + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")


def block(data: bytes) -> bytes:
    """Return a BGZF block: its size stands in the extra field `BC`."""
    size = len(member(data, extra=b"BC\2\0\0\0")) - 1
    return member(data, extra=b"BC\2\0" + size.to_bytes(2, "little"))


def by_program(folder: Path, *arguments: str, data: bytes = TEXT) -> bytes:
    """Return what the program gzip makes of a file whose time is INSIDE."""
    file = folder / "input.txt"
    file.write_bytes(data)
    os.utime(file, (INSIDE, INSIDE))
    return run("gzip", "--stdout", *arguments, file, cwd=folder)


def in_pieces() -> bytes:
    """Return one member of blocks that were compressed apart and flushed, as pigz joins them."""
    deflate = zlib.compressobj(6, wbits=-15)
    body = b"".join(deflate.compress(TEXT) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(4))
    whole = TEXT * 4
    trailer = zlib.crc32(whole).to_bytes(4, "little") + len(whole).to_bytes(4, "little")
    return member(b"")[:10] + body + deflate.flush() + trailer


def time_of(data: bytes) -> int:
    return int.from_bytes(data[4:8], "little")


def only_the_time_is_zero(before: bytes, after: bytes) -> bool:
    return after == before[:4] + bytes(4) + before[8:] and time_of(before) != 0


WRITTEN: dict[str, Callable[[], bytes]] = {
    "a member": member,
    "with a name": lambda: member(name=b"input.txt"),
    "with a comment": lambda: member(name=b"n", comment=b"said"),
    "stored": lambda: member(level=0),
    "empty": lambda: member(b""),
    "Python's gzip": lambda: gzip.compress(TEXT, mtime=INSIDE),
    "joined blocks": in_pieces,
    "two members": lambda: member() + member(b"more"),
    "BGZF": lambda: block(TEXT) + block(b"more") + block(b""),
}


@pytest.mark.parametrize("make", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_time_inside_the_window_is_zeroed_and_nothing_else(make: Callable[[], bytes]) -> None:
    data = make()
    made = canonical(FORMAT, data, WINDOW)
    assert only_the_time_is_zero(data, made)
    assert gzip.decompress(made) == gzip.decompress(data)


@pytest.mark.parametrize("arguments", [[], ["-1"], ["--best"], ["--rsyncable"]], ids=str)
def test_what_the_program_gzip_writes_is_brought_to_one_form(
    tmp_path: Path, arguments: list[str]
) -> None:
    data = by_program(tmp_path, *arguments)
    assert time_of(data) == INSIDE
    made = canonical(FORMAT, data, WINDOW)
    assert only_the_time_is_zero(data, made)
    assert run("gzip", "-dc", cwd=tmp_path, stdin=made) == TEXT
    run("gzip", "--test", "-", cwd=tmp_path, stdin=made)


@pytest.mark.parametrize("time", [0, 1, BEFORE, AFTER, 0xFFFFFFFF])
def test_a_time_outside_the_window_is_a_files_own_and_stays(time: int) -> None:
    # Only what the action itself wrote is touched, not a file that it passed on.
    data = member(time=time)
    assert canonical(FORMAT, data, WINDOW) == data


@pytest.mark.parametrize("time", [int(BEGUN), INSIDE, int(ENDED)])
def test_the_window_has_both_its_ends(time: int) -> None:
    assert time_of(canonical(FORMAT, member(time=time), WINDOW)) == 0


def test_a_header_s_checksum_is_made_right() -> None:
    # RFC 1952: FHCRC covers the time.
    data = member(header_sum=True, name=b"n", comment=b"c", extra=b"xx\1\0a")
    made = canonical(FORMAT, data, WINDOW)
    assert made == member(time=0, header_sum=True, name=b"n", comment=b"c", extra=b"xx\1\0a")
    assert gzip.decompress(made) == TEXT


def test_the_times_of_later_members_are_left() -> None:
    made = canonical(FORMAT, member() + member(b"more"), WINDOW)
    assert time_of(made[len(member()) :]) == INSIDE


FAULTY = {
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
    "a reserved flag": member()[:3] + b"\x20" + member()[4:],
    "a name that does not end": member()[:3] + b"\x08" + member()[4:10] + b"n" * 50,
    "a wrong checksum of the header": member(header_sum=True)[:10] + b"xx" + member()[10:],
}


@pytest.mark.parametrize("data", FAULTY.values(), ids=FAULTY.keys())
def test_what_is_not_wholly_gzip_is_left(data: bytes) -> None:
    with pytest.raises(Declined):
        canonical(FORMAT, data, WINDOW)


def test_a_bomb_is_checked_in_bounded_memory() -> None:
    deflate = zlib.compressobj(9, wbits=31)
    zeros = bytes(MIB)
    bomb = b"".join(deflate.compress(zeros) for _ in range(64)) + deflate.flush()
    bomb = bomb[:4] + INSIDE.to_bytes(4, "little") + bomb[8:]
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        made = canonical(FORMAT, bomb, WINDOW)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < HELD_BYTES
    assert only_the_time_is_zero(bomb, made)


def test_many_members_are_checked_without_copying_the_rest_for_each() -> None:
    # 60,000 members: were the rest copied for each, this would copy 40 GB.
    data = member(b"a") * 60_000
    assert only_the_time_is_zero(data, canonical(FORMAT, data, WINDOW))


def inside(data: Data, *, encoders: Sequence[str] = ("zlib", "gzip")) -> bytes:
    """Return the canonical form of a file of TEXT, where `quick` is to be `slow and steady`."""

    def member_edits(contents: bytes, name: str) -> list[Edit]:
        return [Edit(4, 9, b"slow and steady")] if contents.startswith(b"the quick") else []

    known = {"zlib": ZLIB, "gzip": gzip_program.encoders()}
    inflation = Inflation(
        recognised=lambda head, name: head.startswith(b"the quick") and len(head) == 512,
        encoders=[each for kind in encoders for each in known[kind]],
        budget=Budget(),
    )
    conditions = replace(WINDOW, member=member_edits)
    return applied(data, edits(data, conditions, inflation))


REVISED = TEXT.replace(b"quick", b"slow and steady", 1)


@pytest.mark.parametrize("level", [1, 4, 6, 9])
def test_contents_are_compressed_again_as_zlib_did(level: int) -> None:
    data = member(name=b"name", level=level, time=BEFORE, header_sum=True)
    expected = member(REVISED, name=b"name", level=level, time=BEFORE, header_sum=True)
    assert inside(data) == expected
    assert inside(expected) == expected


@pytest.mark.parametrize("level", ["-1", "-6", "-9"])
def test_contents_are_compressed_again_as_the_program_gzip_did(tmp_path: Path, level: str) -> None:
    made = inside(by_program(tmp_path, level), encoders=["gzip"])
    expected = by_program(tmp_path, level, data=REVISED)
    assert made == expected[:4] + bytes(4) + expected[8:]
    assert run("gzip", "-dc", cwd=tmp_path, stdin=made) == REVISED


def test_contents_by_an_unknown_encoder_are_left_and_the_time_is_not() -> None:
    assert only_the_time_is_zero(in_pieces(), inside(in_pieces()))


def test_contents_of_several_members_are_left() -> None:
    data = member() + member()
    assert only_the_time_is_zero(data, inside(data))


def test_contents_with_a_wrong_checksum_are_left() -> None:
    data = member(time=0)[:-8] + bytes(8)
    assert inside(data) == data


def test_a_file_is_read_by_the_standard_library_too() -> None:
    with gzip.open(io.BytesIO(inside(member()))) as file:
        assert file.read() == REVISED


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
def test_the_contents_stay(data: bytes) -> None:
    made = canonical(FORMAT, data, WINDOW)
    assert len(made) == len(data)
    assert gzip.decompress(made) == gzip.decompress(data)
    assert time_of(made) in {0, time_of(data)}


@settings(max_examples=200, deadline=None, database=None)
@given(damaged(member(name=b"a name", header_sum=True)))
def test_whatever_the_bytes_are_they_are_left_or_decompress_to_the_same(data: bytes) -> None:
    made = made_canonical(FORMAT, data, WINDOW)
    assert made in (None, data) or gzip.decompress(made or b"") == gzip.decompress(data)
