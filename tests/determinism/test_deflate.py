from __future__ import annotations

import io
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from determinism import gzip_program
from determinism.deflate import MAX_CONTENTS_BYTES, ZLIB, Budget, Encoder, Inflation, is_made_by
from determinism.format import Declined
from tests.determinism.made import run, written

MIB = 1 << 20


def contents(size: int = 300_000) -> bytes:
    """Return text that compresses differently at every level."""
    draw = random.Random(1)
    words = [draw.randbytes(draw.randint(2, 9)).hex().encode() for _ in range(500)]
    return b" ".join(draw.choice(words) for _ in range(size // 12))


def raw(data: bytes, level: int = 6, memory: int = 8, strategy: int = 0) -> bytes:
    deflate = zlib.compressobj(level, wbits=-15, memLevel=memory, strategy=strategy)
    return deflate.compress(data) + deflate.flush()


def inflation(encoders: tuple[Encoder, ...] = ZLIB, budget: int = 1 << 30) -> Inflation:
    return Inflation(
        recognised=lambda head, name: head.startswith(b"known"),
        encoders=ZLIB if encoders is ZLIB else gzip_program.encoders(),
        budget=Budget(budget),
    )


@pytest.mark.parametrize("level", range(1, 10))
def test_every_level_of_zlib_is_recognised(level: int) -> None:
    old, new = contents(), contents().replace(b"a", b"b")
    stream = b"before" + raw(old, level) + b"behind"
    again = inflation().again(stream, 6, len(stream) - 6, old, new)
    assert again == raw(new, level)


def test_javas_and_pythons_streams_are_zlibs() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", contents())
    data = file.getvalue()
    at = data.index(b"x") + 1
    size = archive.getinfo("x").compress_size
    assert inflation().again(data, at, at + size, contents(), b"other") == raw(b"other")


@pytest.mark.parametrize("level", range(1, 10))
def test_every_level_of_the_program_gzip_is_recognised(tmp_path: Path, level: int) -> None:
    old, new = contents(), contents().replace(b"a", b"b")
    written(tmp_path / "old", old)
    written(tmp_path / "new", new)
    stream = run("gzip", "-nc", f"-{level}", "old", cwd=tmp_path)
    again = inflation(()).again(stream, 10, len(stream) - 8, old, new)
    assert again == run("gzip", "-nc", f"-{level}", "new", cwd=tmp_path)[10:-8]


@pytest.mark.parametrize("strategy", [zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED, zlib.Z_RLE])
def test_a_stream_of_another_maker_is_not_made_again(strategy: int) -> None:
    stream = raw(contents(), strategy=strategy)
    assert inflation().again(stream, 0, len(stream), contents(), b"other") is None
    assert inflation(()).again(stream, 0, len(stream), contents(), b"other") is None


def test_an_encoder_that_goes_wrong_is_not_asked_for_more() -> None:
    asked = []

    def deflated(contents: bytes) -> Iterator[bytes]:
        for part in (b"good", b"bad!", b"more"):
            asked.append(part)
            yield part

    encoder = Encoder(6, deflated)
    assert not is_made_by(encoder, b"goodgoodmore", 0, 12, b"")
    assert asked == [b"good", b"bad!"]
    assert is_made_by(encoder, b".goodbad!more.", 1, 13, b"")
    assert not is_made_by(encoder, b"goodbad!mor", 0, 11, b"")
    assert not is_made_by(encoder, b"goodbad!more1", 0, 13, b"")


def test_a_look_at_the_beginning_says_whether_contents_are_known() -> None:
    known, other = raw(b"known " + contents()), raw(b"other " + contents())
    assert inflation().worthwhile(known, 0, len(known), "name")
    assert not inflation().worthwhile(other, 0, len(other), "name")
    assert not inflation().worthwhile(b"\xff" * 99, 0, 99, "name")


@settings(max_examples=100, deadline=None, database=None)
@given(
    strategies.binary(max_size=2000) | strategies.integers(0, 3 * MIB).map(bytes),
    strategies.integers(0, 9),
)
def test_what_was_deflated_is_inflated(data: bytes, level: int) -> None:
    stream = b".." + raw(data, level) + b"..."
    assert inflation().inflated(stream, 2, len(stream) - 3) == data


@pytest.mark.parametrize("cut", [slice(0, -1), slice(1, None), slice(0, 0)], ids=str)
def test_what_is_no_whole_stream_is_told(cut: slice) -> None:
    stream = raw(contents())[cut]
    with pytest.raises(Declined):
        inflation().inflated(stream, 0, len(stream))


def test_bytes_behind_a_stream_are_told() -> None:
    stream = raw(contents()) + b"x"
    with pytest.raises(Declined, match="end"):
        inflation().inflated(stream, 0, len(stream))


def test_a_bomb_is_not_inflated_beyond_the_bound() -> None:
    stream = raw(bytes(MAX_CONTENTS_BYTES + MIB))
    tracemalloc.start()
    try:
        assert inflation(budget=8 * MIB).inflated(stream, 0, len(stream)) is None
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * MIB
    assert inflation().inflated(stream, 0, len(stream)) is None


def test_all_that_is_inflated_counts() -> None:
    stream = raw(bytes(MIB))
    once = inflation(budget=MIB + 1)
    assert once.inflated(stream, 0, len(stream)) == bytes(MIB)
    assert once.inflated(stream, 0, len(stream)) is None
