from __future__ import annotations

import gzip
import json
import lzma
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings as examples, strategies as st

from determinism.attribution.compare import found_in, places
from determinism.attribution.place import MAX_PLACES
from determinism.difference import MAX_RANGES, MAX_TEXT, Attributed
from determinism.outcome import Difference
from tests.determinism.attribution.runs import C, run


def compared(first: bytes, then: bytes) -> list[Attributed]:
    return places("out", first, then, first_digest="1", then_digest="2")


def parts(first: bytes, then: bytes) -> list[tuple[str, str]]:
    return [(place.format, place.part) for place in compared(first, then)]


def test_equal_outputs_differ_nowhere() -> None:
    assert compared(b"same", b"same") == []


def test_lines_of_text_are_named_and_shown() -> None:
    (place,) = compared(b"one\ntwo\nthree\n", b"one\n2\nthree\n")
    assert (place.part, place.ranges) == ("line 2", ((4, 8),))
    assert (place.first_text, place.then_text) == ("two", "2")


def test_lines_that_only_one_text_has_do_not_shift_the_rest() -> None:
    (place,) = compared(b"one\nthree\nfour\n", b"one\ntwo\nthree\nfour\n")
    assert place.part == "line 2"


def test_values_of_json_are_named_by_their_keys() -> None:
    documents = [json.dumps({"a": [1, {"when": n}], "b": 2}).encode() for n in (5, 6)]
    ((format, part),) = parts(*documents)
    assert (format, part) == ("json", "/a/1/when")


def test_ranges_of_bytes_are_those_that_differ() -> None:
    first, then = bytearray(4096), bytearray(4096)
    then[1000:1004], then[2000] = b"\1\2\3\4", 9
    (place,) = compared(bytes(first), bytes(then))
    assert place.ranges == ((1000, 1004), (2000, 2001))


def test_bytes_of_other_lengths_differ_between_what_they_begin_and_end_with() -> None:
    (place,) = compared(bytes(100) + b"\1\1" + bytes(50), bytes(100) + b"\2" + bytes(50))
    assert place.ranges == ((100, 102),)


def test_a_section_of_an_object_is_named(tmp_path: Path) -> None:
    first, then = (
        run("gcc -g -c a.c -o a.o", tmp_path / name, {"a.c": C}).files["a.o"]
        for name in ("first", "the_second")
    )
    assert ("elf", ".debug_line_str") in parts(first, then)


def test_a_compressed_section_is_looked_into(tmp_path: Path) -> None:
    first, then = (
        run("gcc -g -gz=zlib -c a.c -o a.o", tmp_path / name, {"a.c": C}).files["a.o"]
        for name in ("first", "the_second")
    )
    place = next(place for place in compared(first, then) if place.part == ".debug_line_str")
    assert str(tmp_path / "first") in place.first_text


def test_a_section_of_a_member_of_an_archive_is_named(tmp_path: Path) -> None:
    script = "gcc -g -c a.c -o a.o && ar rcD lib.a a.o"
    first, then = (
        run(script, tmp_path / name, {"a.c": C}).files["lib.a"] for name in ("first", "the_second")
    )
    place = next(p for p in compared(first, then) if p.part == "a.o > .debug_line_str")
    assert place.format == "ar > elf"
    start, end = place.ranges[0]
    assert first[start:end] in first


@pytest.mark.parametrize(
    ("script", "format", "part"),
    [
        ("touch -d @$T a; ar rcU out a", "ar", "a: mtime"),
        ("touch -d @$T a; zip -qX out a; mv out.zip out", "zip", "a: modified"),
        ("touch -d @$T a; tar -cf out --format=ustar a", "tar", "a: mtime"),
        ("touch -d @$T a; tar -czf out a", "gzip > tar", "contents > a: mtime"),
        ("touch -d @$T a; echo a | cpio -o --quiet -H newc > out", "cpio", "a: mtime"),
        ("touch -d @$T a; gzip a; mv a.gz out", "gzip", "MTIME"),
        ("echo $T > a; zip -qX out a; mv out.zip out", "zip", "a"),
        ("echo $T > a; tar -cJf out a", "xz > tar", "contents > a"),
    ],
)
def test_a_field_or_member_of_an_archive_is_named(
    script: str, format: str, part: str, tmp_path: Path
) -> None:
    first, then = (
        run(f"T={at}; {script}", tmp_path / "same", {"a": "a"}).files["out"]
        for at in (1_600_000_000, 1_600_009_000)
    )
    assert (format, part) in parts(first, then)


def test_members_in_another_order_are_said_to_be(tmp_path: Path) -> None:
    first, then = (
        run(f"tar -cf out {names}", tmp_path / "same", {"a": "1", "b": "2"}).files["out"]
        for names in ("a b", "b a")
    )
    assert ("tar", "order") in parts(first, then)


def test_members_of_one_archive_alone_are_named(tmp_path: Path) -> None:
    first, then = (
        run(f"tar -cf out {names}", tmp_path / "same", {"a": "1", "b": "2"}).files["out"]
        for names in ("a b", "a")
    )
    place = next(p for p in compared(first, then) if p.part == "absent in one run")
    assert "b" in place.first_text
    assert place.then_text == ""


def test_a_chunk_of_a_picture_is_named_and_its_checksum_comes_last(tmp_path: Path) -> None:
    script = "convert -size 8x8 xc:red +set date:create +set date:modify -set comment $T out.png"
    first, then = (
        run(f"T={word}; {script}", tmp_path / "same").files["out.png"] for word in ("ab", "cd")
    )
    named = [part for _, part in parts(first, then)]
    assert named[0] == "tEXt comment"
    assert named.index("tEXt comment: checksum") > 0


def test_what_is_compressed_twice_is_looked_into() -> None:
    first, then = (
        gzip.compress(lzma.compress(b"line\n" + text), mtime=0) for text in (b"one\n", b"two\n")
    )
    assert parts(first, then) == [("gzip > xz", "contents > contents > line 2")]


def test_a_format_that_does_not_parse_is_compared_as_bytes() -> None:
    (place,) = compared(b"\x7fELF" + bytes(200), b"\x7fELF" + bytes(199) + b"\1")
    assert (place.format, place.ranges) == ("", ((203, 204),))


def test_places_ranges_and_texts_are_bounded() -> None:
    one = b"".join(b"%d same\n" % number for number in range(5000))
    other = b"".join(b"%d else\n" % number for number in range(5000))
    assert len(compared(one, other)) == MAX_PLACES
    (place,) = compared(b"\0" * 100_000, (b"\1" + bytes(99)) * 1000)
    assert len(place.ranges) == MAX_RANGES
    (place,) = compared(b"a" * 9999, b"b" * 9999)
    assert len(place.first_text) <= MAX_TEXT


def test_what_expands_without_end_is_bounded() -> None:
    first, then = (
        gzip.compress(bytes(80 << 20) + ending, compresslevel=1, mtime=0) for ending in (b"1", b"2")
    )
    assert compared(first, then)


def test_texts_that_are_too_long_to_align_are_compared_as_bytes() -> None:
    text = b"a line of text\n" * (2 << 20)
    (place,) = compared(text, text.replace(b"line", b"lime"))
    assert len(place.ranges) == MAX_RANGES
    assert place.ranges[0] == (4, 5)


@examples(deadline=None)
@given(st.data())
def test_damaged_files_are_compared_all_the_same(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(SAMPLES))
    first = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 5))):
        first[data.draw(st.integers(0, len(first) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(first[: data.draw(st.integers(1, len(first)))])
    found = compared(cut, whole)
    assert bool(found) == (cut != whole)
    assert all(0 <= start <= end <= len(cut) for p in found for start, end in p.ranges)


def _archive(*command: str) -> bytes:
    return subprocess.run(
        command, check=True, capture_output=True, cwd=Path(__file__).parent
    ).stdout


SAMPLES = [
    _archive("tar", "-c", "runs.py", "__init__.py"),
    _archive("zip", "-q", "-", "runs.py"),
    _archive("sh", "-c", "ls runs.py __init__.py | cpio -o --quiet -H newc"),
    _archive("sh", "-c", "f=$(mktemp); echo 'int a;' | gcc -g -x c -c -o $f - && cat $f; rm $f"),
    gzip.compress(b"text\n" * 9, mtime=0),
    json.dumps({"a": [1, 2, {"b": None}]}).encode(),
    b"\x89PNG\r\n\x1a\n"
    + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in ((b"tEXt", b"a\0b"), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b""))
    ),
]


@pytest.mark.parametrize(
    ("first", "then", "part"),
    [
        ("", "ab/2", "absent in one run"),
        ("ab/2 executable", "ab/2", "executable bit"),
        ("tree ab/2", "ab/2", "directory and file"),
    ],
)
def test_what_is_no_contents_is_a_place_too(first: str, then: str, part: str) -> None:
    (found,) = found_in(Difference("out", first, then), b"same", b"same")
    assert found.place.part == part


def test_the_target_of_a_symlink_is_shown() -> None:
    difference = Difference("out", "symlink to /b/one/x", "symlink to /b/two/x")
    (found,) = found_in(difference, None, None)
    assert (found.place.part, found.place.first_text) == ("target", "/b/one/x")


def test_an_exit_code_is_shown() -> None:
    (found,) = found_in(Difference("exit code", "0", "1"), None, None)
    assert (found.place.first_text, found.place.then_text) == ("0", "1")


def test_contents_that_are_gone_are_a_place_without_a_part() -> None:
    (found,) = found_in(Difference("out", "ab/2", "cd/2"), None, b"x")
    assert (found.place.where, found.place.part) == ("out", "")
