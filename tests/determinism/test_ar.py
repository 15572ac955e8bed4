from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from determinism.format import Declined, Edit
from determinism.formats.ar import FORMAT
from tests.determinism.damage import damaged, made_canonical
from tests.determinism.made import BEFORE, INSIDE, WINDOW, canonical, run, today, written

MAIN = "int answer(void); int main(void) { return answer() - 42; }\n"
LONG = "a_name_that_is_longer_than_sixteen_characters.o"


def objects(folder: Path, time: int = INSIDE) -> list[str]:
    """Compile two objects, last changed at `time`."""
    written(folder / "answer.c", "int other(void); int answer(void) { return other() * 2; }\n")
    written(folder / "other.c", "int other(void) { return 21; }\n")
    run("gcc", "-c", "answer.c", cwd=folder)
    run("gcc", "-c", "other.c", "-o", LONG, cwd=folder)
    names = ["answer.o", LONG]
    for name in names:
        os.utime(folder / name, (time, time))
    return names


def archive(folder: Path, flags: str, names: list[str]) -> bytes:
    """Make an archive anew. flags: of ar."""
    (folder / "lib.a").unlink(missing_ok=True)
    run("ar", flags, "lib.a", *names, cwd=folder)
    return (folder / "lib.a").read_bytes()


def of_text(
    text: bytes, *, time: int = INSIDE, name: bytes = b"a.txt/", mode: bytes = b"100640"
) -> bytes:
    """Return one member as ar writes it."""
    header = b"%-16b%-12d%-6d%-6d%-8b%-10d`\n" % (name, time, 1000, 1001, mode, len(text))
    return header + text + b"\n" * (len(text) % 2)


@pytest.mark.parametrize(("flags", "deterministic"), [("rcU", "rcD"), ("rcTU", "rcTD")])
def test_an_archive_becomes_what_ar_writes_when_it_is_told_to_be_deterministic(
    tmp_path: Path, flags: str, deterministic: str
) -> None:
    names = objects(tmp_path)
    for name in names:
        (tmp_path / name).chmod(0o600)
    # Of the index the time is now, of the members it is INSIDE.
    window = replace(today(), ended=INSIDE + 60.0)
    made = archive(tmp_path, flags, names)
    expected = archive(tmp_path, deterministic, names)
    assert made != expected
    assert canonical(FORMAT, made, window) == expected


@pytest.mark.parametrize("flags", ["rcU", "rcTU"])
def test_a_program_links_with_the_canonical_archive_and_runs(tmp_path: Path, flags: str) -> None:
    names = objects(tmp_path)
    made = archive(tmp_path, flags, names)
    members = run("ar", "t", "lib.a", cwd=tmp_path)
    symbols = run("nm", "-s", "lib.a", cwd=tmp_path)
    written(tmp_path / "lib.a", canonical(FORMAT, made, replace(today(), ended=INSIDE + 60.0)))
    assert run("ar", "t", "lib.a", cwd=tmp_path) == members
    assert run("nm", "-s", "lib.a", cwd=tmp_path) == symbols
    written(tmp_path / "main.c", MAIN)
    run("gcc", "main.c", "lib.a", "-o", "main", cwd=tmp_path)
    run(tmp_path / "main", cwd=tmp_path)
    run("ld.lld", "-r", "-o", "joined.o", "--whole-archive", "lib.a", cwd=tmp_path)


def test_members_are_extracted_with_the_same_bytes_and_the_right_to_execute(tmp_path: Path) -> None:
    written(tmp_path / "script", "#!/bin/sh\necho hello\n", mode=0o750)
    written(tmp_path / "odd", "abc", mode=0o640)
    made = archive(tmp_path, "rcU", ["script", "odd"])
    written(tmp_path / "lib.a", canonical(FORMAT, made, today()))
    (tmp_path / "script").unlink()
    run("ar", "x", "lib.a", cwd=tmp_path)
    assert run(tmp_path / "script", cwd=tmp_path) == b"hello\n"
    listed = run("ar", "tv", "lib.a", cwd=tmp_path).decode().splitlines()
    assert [line.split()[:3] for line in listed] == [
        ["rwxr-xr-x", "0/0", "21"],
        ["rw-r--r--", "0/0", "3"],
    ]


def test_an_archive_without_a_time_of_the_action_is_left() -> None:
    data = b"!<arch>\n" + of_text(b"text", time=BEFORE)
    assert canonical(FORMAT, data, WINDOW) == data


def test_a_time_of_its_own_stays_beside_one_that_the_action_wrote() -> None:
    data = b"!<arch>\n" + of_text(b"text", time=BEFORE) + of_text(b"more", name=b"b/")
    made = canonical(FORMAT, data, WINDOW)
    assert [int(made[at : at + 12]) for at in (24, 24 + 64)] == [BEFORE, 0]
    assert [made[at : at + 6] for at in (36, 36 + 64)] == [b"0     "] * 2


def test_blank_fields_of_the_table_of_names_stay_blank(tmp_path: Path) -> None:
    made = canonical(FORMAT, archive(tmp_path, "rcU", objects(tmp_path)), WINDOW)
    at = made.index(b"//  ")
    assert made[at : at + 48] == b"//".ljust(48)


def test_members_of_known_formats_are_rewritten_where_they_stand() -> None:
    data = b"!<arch>\n" + of_text(b"one") + of_text(b"two!", name=b"b/", time=BEFORE)

    def member(data: bytes, name: str) -> list[Edit]:
        assert (data, name) in [(b"one", "a.txt"), (b"two!", "b")]
        return [Edit(1, 3, b"XY")] if name == "b" else [Edit(0, 1, b"longer")]

    edits = FORMAT.edits(data, replace(WINDOW, member=member))
    start = data.index(b"two!")
    assert Edit(start + 1, start + 3, b"XY") in edits
    assert all(len(edit.new) == edit.end - edit.start for edit in edits)


def test_a_member_whose_checksum_is_packed_beside_it_is_left() -> None:
    sums = b"f97c5d29941bfb1b2fdab0874906ab82  a.txt\n"  # md5sum of `one`
    data = b"!<arch>\n" + of_text(b"one") + of_text(sums, name=b"MD5SUMS/")
    conditions = replace(
        WINDOW, member=lambda data, name: [Edit(0, 1, b"X")] if name == "a.txt" else []
    )
    assert b"one" in canonical(FORMAT, data, conditions)


def test_bsd_names_stand_before_the_contents() -> None:
    member = of_text(b"a long name\0one", name=b"#1/12")
    seen = []

    def look(data: bytes, name: str) -> list[Edit]:
        seen.append((data, name))
        return []

    canonical(FORMAT, b"!<arch>\n" + member, replace(WINDOW, member=look))
    assert set(seen) == {(b"one", "a long name")}


def test_an_archive_with_a_bsd_index_is_left(tmp_path: Path) -> None:
    names = objects(tmp_path)
    run("llvm-ar", "--format=darwin", "rcsU", "lib.a", *names, cwd=tmp_path)
    with pytest.raises(Declined, match="BSD"):
        canonical(FORMAT, (tmp_path / "lib.a").read_bytes(), today())


def test_a_rust_library_is_left(tmp_path: Path) -> None:
    written(tmp_path / "lib.rs", "pub fn answer() -> i32 { 42 }\n")
    run("rustc", "--crate-type=rlib", "lib.rs", cwd=tmp_path)
    with pytest.raises(Declined, match="Rust"):
        canonical(FORMAT, (tmp_path / "liblib.rlib").read_bytes(), today())


def test_members_of_a_debian_package_are_left(tmp_path: Path) -> None:
    (tmp_path / "p" / "DEBIAN").mkdir(parents=True)
    written(
        tmp_path / "p" / "DEBIAN" / "control",
        "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m <m@example.org>\n"
        "Description: d\n",
    )
    run("dpkg-deb", "--build", "-Zgzip", "p", cwd=tmp_path)
    conditions = replace(today(), member=lambda data, name: [Edit(0, 1, b"X")])
    package = (tmp_path / "p.deb").read_bytes()
    made = canonical(FORMAT, package, replace(conditions, begun=0.0))
    written(tmp_path / "p.deb", made)
    assert b"Package: p" in run("dpkg-deb", "--field", "p.deb", cwd=tmp_path).splitlines()
    assert b"control.tar.gz" in run("ar", "t", "p.deb", cwd=tmp_path)


FAULTY = {
    "no magic": b"!<arch>" + of_text(b"one"),
    "half a header": b"!<arch>\n" + of_text(b"one")[:30],
    "a member cut short": b"!<arch>\n" + of_text(b"one!")[:-1],
    "no padding": b"!<arch>\n" + of_text(b"one")[:-1] + of_text(b"two!"),
    "garbage behind": b"!<arch>\n" + of_text(b"one") + b"garbage",
    "a size that is no number": b"!<arch>\n"
    + of_text(b"one").replace(b"3         `", b"x         `"),
    "a time that is no number": b"!<arch>\n" + of_text(b"one").replace(b"18000", b"x8000"),
    "a name that is not there": b"!<arch>\n" + of_text(b"one", name=b"/12"),
    "an unknown table": b"!<arch>\n" + of_text(b"one", name=b"/<HASHES>/"),
    "a signed package": b"!<arch>\n" + of_text(b"one", name=b"_gpgorigin"),
}


@pytest.mark.parametrize("data", FAULTY.values(), ids=FAULTY.keys())
def test_what_is_not_wholly_understood_is_left(data: bytes) -> None:
    assert made_canonical(FORMAT, data, WINDOW) is None


SAMPLE = b"!<arch>\n" + b"".join(
    [
        of_text(b"\0\0\0\1\0\0\0\x60f\0", name=b"/", mode=b"0"),
        of_text(b"a_long_name_of_a_member/\n", name=b"//"),
        of_text(b"one", name=b"/0"),
        of_text(b"four", time=BEFORE),
    ]
)


@settings(max_examples=300, deadline=None, database=None)
@given(damaged(SAMPLE))
def test_whatever_the_bytes_are_they_are_left_or_have_a_canonical_form(data: bytes) -> None:
    made_canonical(FORMAT, data, WINDOW)


@settings(max_examples=100, deadline=None, database=None)
@given(
    strategies.lists(
        strategies.tuples(strategies.binary(max_size=9), strategies.sampled_from([BEFORE, INSIDE]))
    )
)
def test_the_contents_stay(members: list[tuple[bytes, int]]) -> None:
    data = b"!<arch>\n" + b"".join(of_text(text, time=time) for text, time in members)
    made = canonical(FORMAT, data, WINDOW)
    expected = any(time == INSIDE for _, time in members)
    assert (made != data) == expected
    at = 8
    for text, _ in members:
        assert made[at + 60 : at + 60 + len(text)] == text
        at += 60 + len(text) + len(text) % 2
