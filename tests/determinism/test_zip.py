from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from determinism.deflate import ZLIB, Budget, Inflation
from determinism.format import Declined, Edit, applied
from determinism.formats.zip import FORMAT, edits
from tests.determinism.damage import damaged, made_canonical
from tests.determinism.made import AFTER, BEFORE, INSIDE, WINDOW, canonical, run, written
from tests.determinism.zips import (
    LONG_AGO,
    TEXT,
    Stream,
    archive,
    by_zip,
    contents,
    moment,
    times,
    ut,
)


@pytest.mark.parametrize("options", [[], ["-X"], ["-0"], ["-9"], ["-fz"], ["-fd"]], ids=str)
def test_two_runs_of_zip_at_two_times_give_the_same_bytes(
    tmp_path: Path, options: list[str]
) -> None:
    first = by_zip(tmp_path, *options)
    then = by_zip(tmp_path, *options, seconds=INSIDE + 7)
    assert first != then
    window = replace(WINDOW, begun=1.0)  # files are read now, which a UT field tells
    made = canonical(FORMAT, first, window)
    assert made == canonical(FORMAT, then, window)
    assert times(made) == {LONG_AGO}
    assert contents(made) == contents(first)


def test_unzip_tests_lists_and_extracts_the_same(tmp_path: Path) -> None:
    data = by_zip(tmp_path)
    out = tmp_path / "out"
    written(out / "o.zip", canonical(FORMAT, data, WINDOW))
    run("unzip", "-tq", "o.zip", cwd=out)
    listed = [
        [line.split()[:6] + line.split()[8:] for line in text.decode().splitlines()[2:-1]]
        for text in (run("zipinfo", "o.zip", cwd=out), run("zipinfo", "o.zip", cwd=tmp_path))
    ]
    assert listed[0] == listed[1]
    run("unzip", "-q", "o.zip", cwd=out, TZ="UTC")
    run("diff", "-r", out / "d", tmp_path / "d", cwd=tmp_path)
    assert (out / "d/one.txt").stat().st_mtime == 315532800
    assert os.access(out / "d/run", os.X_OK)


@pytest.mark.parametrize("seconds", [BEFORE - 3, AFTER + 3, 1_000_000_000])
def test_a_time_that_the_action_did_not_write_stays(seconds: int) -> None:
    data = archive(seconds=seconds, extra=ut(seconds))
    assert canonical(FORMAT, data, WINDOW) == data


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (ut(INSIDE), ut(315532800)),
        (struct.pack("<HHB3i", 0x5455, 13, 7, INSIDE, BEFORE, INSIDE),
         struct.pack("<HHB3i", 0x5455, 13, 7, 315532800, BEFORE, 315532800)),
        (struct.pack("<HH2i2H", 0x5855, 12, INSIDE, INSIDE, 1, 2),
         struct.pack("<HH2i2H", 0x5855, 12, 315532800, 315532800, 1, 2)),
        (struct.pack("<HHIHH3Q", 0x000A, 32, 0, 1, 24, *[(INSIDE + 11644473600) * 10**7 + 5] * 3),
         struct.pack("<HHIHH3Q", 0x000A, 32, 0, 1, 24, *[(315532800 + 11644473600) * 10**7] * 3)),
        (struct.pack("<HHBBIBI", 0x7875, 11, 1, 4, 1000, 4, 1000),) * 2,
        (struct.pack("<HH", 0xCAFE, 0), struct.pack("<HH", 0xCAFE, 0)),
    ],
    ids=["UT", "UT, three", "UX", "NTFS", "ux", "a jar's"],
)  # fmt: skip
def test_times_in_extra_fields_are_rewritten_in_both_headers(extra: bytes, expected: bytes) -> None:
    made = canonical(FORMAT, archive(extra=extra), WINDOW)
    assert made.count(expected) == 2
    assert contents(made) == {"a.txt": TEXT}


def test_a_time_that_is_none_stays() -> None:
    data = archive()
    for at in (10, data.index(b"PK\1\2") + 12):
        data = data[:at] + bytes(4) + data[at + 4 :]
    assert canonical(FORMAT, data, WINDOW) == data


FORMS: dict[str, Callable[[], bytes]] = {
    "stored": lambda: archive(method=zipfile.ZIP_STORED),
    "LZMA": lambda: archive(method=zipfile.ZIP_LZMA),
    "with descriptors": lambda: archive(streamed=True),
    "with a comment": lambda: archive(comment=b"said"),
    "with a long comment": lambda: archive(comment=b"c" * 65535),
    "many members": lambda: archive({f"{number}": b"x" * number for number in range(300)}),
    "behind something": lambda: b"#!/usr/bin/env python3\n" + archive(),
    "padded to align": lambda: archive(extra=b"\0\0\0"),
    "empty members": lambda: archive({"d/": b"", "e": b""}),
}


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS.keys())
def test_zip_files_of_many_forms_are_rewritten_in_place(make: Callable[[], bytes]) -> None:
    data = make()
    made = canonical(FORMAT, data, WINDOW)
    assert made != data
    assert len(made) == len(data)
    assert times(made) == {LONG_AGO}
    assert contents(made) == contents(data)


def test_an_empty_archive_has_nothing_to_rewrite() -> None:
    assert canonical(FORMAT, archive({}), WINDOW) == archive({})


@pytest.mark.parametrize("streamed", [False, True])
def test_numbers_of_64_bits_are_understood(*, streamed: bool) -> None:
    made = Stream() if streamed else io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file,
        file.open(zipfile.ZipInfo("big", moment(INSIDE)), "w", force_zip64=True) as member,
    ):
        member.write(TEXT)
    data = made.getvalue()
    assert b"\1\0\x10\0" in data
    form = canonical(FORMAT, data, WINDOW)
    assert times(form) == {LONG_AGO}
    assert contents(form) == {"big": TEXT}


def test_more_members_than_16_bits_can_count_are_understood() -> None:
    data = archive({f"{number}": b"" for number in range(66_000)}, method=zipfile.ZIP_STORED)
    assert b"PK\6\6" in data
    assert times(canonical(FORMAT, data, WINDOW)) == {LONG_AGO}


def test_a_zipapp_still_runs(tmp_path: Path) -> None:
    main = written(tmp_path / "app/__main__.py", "print('runs')\n")
    os.utime(main, (INSIDE, INSIDE))
    app = tmp_path / "app.pyz"
    run(sys.executable, "-m", "zipapp", "app", "-p", sys.executable, cwd=tmp_path, TZ="UTC")
    made = canonical(FORMAT, app.read_bytes(), WINDOW)
    assert made != app.read_bytes()
    app.write_bytes(made)
    assert run(app, cwd=tmp_path) == b"runs\n"


def test_a_self_extracting_program_keeps_its_program(tmp_path: Path) -> None:
    program = Path("/bin/true").read_bytes()
    for data in (program + archive(), program + _with_offsets_from(len(program), archive())):
        file = written(tmp_path / "program", canonical(FORMAT, data, WINDOW), mode=0o755)
        assert file.read_bytes()[: len(program)] == program
        run(file, cwd=tmp_path)
        assert contents(file.read_bytes()) == {"a.txt": TEXT}


def _with_offsets_from(shift: int, data: bytes) -> bytes:
    """Return an archive of one member whose offsets count from `shift` bytes before it."""
    central, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    made = bytearray(data)
    made[central + 42 : central + 46] = shift.to_bytes(4, "little")
    made[end + 16 : end + 20] = (central + shift).to_bytes(4, "little")
    return bytes(made)


def test_a_jar_still_runs(tmp_path: Path) -> None:
    written(
        tmp_path / "Main.java",
        "public class Main { public static void main(String[] a) throws Exception {"
        ' System.out.print(Main.class.getResource("said.txt") != null); } }\n',
    )
    written(tmp_path / "said.txt", "hello")
    run("javac", "Main.java", cwd=tmp_path)
    for file in ("Main.class", "said.txt"):
        os.utime(tmp_path / file, (INSIDE, INSIDE))
    run("jar", "cfe", "main.jar", "Main", "Main.class", "said.txt", cwd=tmp_path, TZ="UTC")
    jar = tmp_path / "main.jar"
    data = jar.read_bytes()
    made = canonical(FORMAT, data, replace(WINDOW, begun=1.0))
    assert made != data
    jar.write_bytes(made)
    assert run("java", "-jar", "main.jar", cwd=tmp_path) == b"true"


def test_a_wheel_is_installed(tmp_path: Path) -> None:
    info = "demo-1.0.dist-info"
    members = {
        "demo.py": b"ANSWER = 42\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = b"".join(b"%b,,\n" % name.encode() for name in members)
    made = canonical(FORMAT, archive(members), WINDOW)
    wheel = written(tmp_path / "demo-1.0-py3-none-any.whl", made)
    run(
        *(sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"),
        *("--target", tmp_path / "site", wheel),
        cwd=tmp_path,
    )
    code = "import demo; print(demo.ANSWER)"
    assert run(sys.executable, "-c", code, cwd=tmp_path / "site") == b"42\n"


def _changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


ONE, TWO = archive(), archive({"a": TEXT, "b": TEXT})
LEFT = {
    "cut short": ONE[:-1],
    "garbage behind": ONE + b"g",
    "encrypted": _changed(_changed(ONE, 6, b"\1"), ONE.index(b"PK\1\2") + 8, b"\1"),
    "several disks": _changed(ONE, ONE.index(b"PK\5\6") + 4, b"\1"),
    "another name in the directory": ONE.replace(b"a.txt", b"b.txt", 1),
    "another size in the directory": _changed(ONE, ONE.index(b"PK\1\2") + 24, b"\1"),
    "a wrong count": _changed(ONE, ONE.index(b"PK\5\6") + 8, b"\2\0\2\0"),
    "a member that is not listed": ONE[: ONE.index(b"PK\1\2")] + ONE,
    "a gap before the directory": ONE.replace(b"PK\1\2", b"APK Sig Block 42PK\1\2"),
    "two entries of one member": TWO.replace(
        struct.pack("<I", TWO.index(b"PK\3\4", 4)) + b"b", bytes(4) + b"b"
    ),
    "half an extra field": archive(extra=b"\1\2\x09\0xxx"),
    "a signed jar": archive({"META-INF/MANIFEST.MF": b"", "META-INF/ME.sf": b""}),
    "a signed package": archive({".signature.p7s": b""}),
    "Clojure": archive({"a.clj": b"", "a__init.class": b""}),
    "a source beside what was compiled of it": archive({"a.py": b"", "a.pyc": b""}),
    "a signed extension": b"Cr24" + bytes(20) + ONE,
    "an end record in the comment": archive(comment=b"PK\5\6" + bytes(18)),
}


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT.keys())
def test_what_is_not_wholly_understood_or_would_break_is_left(data: bytes) -> None:
    with pytest.raises(Declined):
        canonical(FORMAT, data, WINDOW)


def test_a_module_of_the_jdk_is_no_zip_file() -> None:
    data = b"JM\1\0" + ONE
    assert not FORMAT.matches(data[:512], data[-512:], "x.jmod")


def test_a_descriptor_that_disagrees_is_left() -> None:
    data = archive(streamed=True)
    with pytest.raises(Declined):
        canonical(FORMAT, data.replace(b"PK\7\x08", b"PK\7\x09"), WINDOW)


def inside(data: bytes, *, new: bytes = b"slow and steady", budget: int = 1 << 30) -> bytes:
    """Return the canonical form, where `quick` is to be `new` in each member that starts so."""

    def member_edits(contents: bytes, name: str) -> list[Edit]:
        return [Edit(4, 9, new)] if contents.startswith(b"the quick") else []

    inflation = Inflation(
        recognised=lambda head, name: head.startswith(b"the quick"),
        encoders=ZLIB,
        budget=Budget(budget),
    )
    conditions = replace(WINDOW, member=member_edits)
    return applied(data, edits(data, conditions, inflation))


REVISED = TEXT.replace(b"quick", b"slow and steady", 1)
MEMBERS = {"a": TEXT, "b": b"other", "c": TEXT + b"c", "d/": b"", "e": b"last"}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("level", [1, 6, 9])
def test_members_are_compressed_again_and_what_is_behind_moves(
    level: int, *, streamed: bool
) -> None:
    data = archive(MEMBERS, level=level, streamed=streamed, seconds=BEFORE)
    revised = {**MEMBERS, "a": REVISED, "c": REVISED + b"c"}
    expected = archive(revised, level=level, streamed=streamed, seconds=BEFORE)
    assert len(expected) != len(data)
    assert inside(data) == expected
    assert inside(expected) == expected
    assert inside(b"#!/bin/sh\n" + data) == b"#!/bin/sh\n" + expected


def test_offsets_of_64_bits_move_too() -> None:
    members = {f"{number}": b"" for number in range(66_000)}
    data = archive({"a": TEXT, **members}, seconds=BEFORE)
    assert inside(data) == archive({"a": REVISED, **members}, seconds=BEFORE)


def test_a_stored_member_may_change_but_none_behind_may_move() -> None:
    data = archive({"a": TEXT, "b": TEXT}, method=zipfile.ZIP_STORED, seconds=BEFORE)
    moved, same = inside(data), inside(data, new=b"QUICK")
    assert contents(moved) == {"a": TEXT, "b": TEXT}
    assert set(contents(same).values()) == {TEXT.replace(b"quick", b"QUICK", 1)}


def test_a_member_whose_checksum_is_packed_beside_it_is_left() -> None:
    sums = b"sha1 %b\n" % hashlib.sha1(TEXT).hexdigest().encode()
    data = archive({"a": TEXT, "b": TEXT + b"b", "sums": sums}, seconds=BEFORE)
    assert contents(inside(data)) == {"a": TEXT, "b": REVISED + b"b", "sums": sums}


def test_members_of_a_wheel_are_left() -> None:
    data = archive({"a": TEXT, "x.dist-info/RECORD": b""}, seconds=BEFORE)
    assert inside(data) == data


def test_a_member_by_an_unknown_encoder_is_left() -> None:
    deflate = zlib.compressobj(6, wbits=-15, strategy=zlib.Z_FIXED)
    packed = deflate.compress(TEXT) + deflate.flush()
    data = archive({"a": packed}, method=zipfile.ZIP_STORED, seconds=BEFORE)
    crc, size = struct.pack("<I", zlib.crc32(TEXT)), struct.pack("<I", len(TEXT))
    for at in (8, data.index(b"PK\1\2") + 10):
        data = _changed(data, at, b"\x08\0")
        data = _changed(data, at + 6, crc)
        data = _changed(data, at + 14, size)
    assert contents(data) == {"a": TEXT}
    assert inside(data) == data


def test_more_than_may_be_inflated_is_left() -> None:
    data = archive(MEMBERS, seconds=BEFORE)
    assert inside(data, budget=len(TEXT)) == data


@settings(max_examples=300, deadline=None, database=None)
@given(damaged(archive({"a": TEXT, "b": b""}, extra=ut(INSIDE), streamed=True)))
def test_whatever_the_bytes_are_they_are_left_or_have_a_canonical_form(data: bytes) -> None:
    made_canonical(FORMAT, data, WINDOW)


@settings(max_examples=100, deadline=None, database=None)
@given(
    strategies.dictionaries(
        strategies.text(strategies.characters(categories=["L", "N"]), min_size=1, max_size=20),
        strategies.binary(max_size=400),
        max_size=5,
    ),
    strategies.sampled_from([BEFORE - 9, INSIDE, AFTER + 9]),
    strategies.binary(max_size=30),
)
def test_contents_stay(members: dict[str, bytes], seconds: int, prefix: bytes) -> None:
    prefix = prefix and b"#!" + prefix
    data = prefix + archive(members, seconds=seconds)
    made = made_canonical(FORMAT, data, WINDOW)
    assert made is not None
    assert made[: len(prefix)] == prefix
    assert contents(made) == members
    assert (made == data) == (seconds != INSIDE or not members)
