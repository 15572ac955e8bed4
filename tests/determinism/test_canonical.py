from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

import pytest

from determinism.canonical import MAX_FILE_BYTES, WINDOW_SECONDS, canonicalise_file
from tests.determinism.gzips import BEGUN, ENDED, INSIDE, TEXT, by_program, member, time_of


def canonicalised(path: Path) -> str | None:
    return canonicalise_file(path, BEGUN, ENDED)


def written(path: Path, data: bytes, mode: int = 0o644) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_a_gzip_file_is_rewritten_in_place_and_named(tmp_path: Path) -> None:
    file = written(tmp_path / "out", by_program(tmp_path))
    assert canonicalised(file) == "gzip"
    assert time_of(file.read_bytes()) == 0
    assert gzip.decompress(file.read_bytes()) == TEXT
    assert canonicalised(file) is None


def test_two_runs_at_two_times_give_the_same_bytes(tmp_path: Path) -> None:
    files = [written(tmp_path / str(time), member(time=time)) for time in (INSIDE, INSIDE + 1)]
    assert [canonicalised(file) for file in files] == ["gzip", "gzip"]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600, 0o444, 0o4711])
def test_the_mode_is_kept(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path / "out", member(), mode)
    assert canonicalised(file) == "gzip"
    assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_hard_link_to_the_old_file_is_not_changed(tmp_path: Path) -> None:
    file = written(tmp_path / "out", member())
    link = tmp_path / "link"
    link.hardlink_to(file)
    assert canonicalised(file) == "gzip"
    assert link.read_bytes() == member()
    assert not link.samefile(file)


LEFT = {
    "an empty file": b"",
    "a byte": b"\x1f",
    "the magic alone": b"\x1f\x8b",
    "text": TEXT,
    "a file that is cut short": member()[:-3],
    "garbage behind": member() + b"garbage",
    "a time that is not of the action": member(time=1),
    "a checksum of the header": member(header_sum=True),
}


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT.keys())
def test_other_files_are_left_untouched(tmp_path: Path, data: bytes) -> None:
    file = written(tmp_path / "out", data)
    before = file.stat()
    assert canonicalised(file) is None
    assert file.read_bytes() == data
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (int(BEGUN) - WINDOW_SECONDS, "gzip"),
        (int(BEGUN) - WINDOW_SECONDS - 1, None),
        (int(ENDED) + WINDOW_SECONDS, "gzip"),
        (int(ENDED) + WINDOW_SECONDS + 1, None),
    ],
)
def test_the_window_is_the_actions_and_two_seconds_around_it(
    tmp_path: Path, time: int, expected: str | None
) -> None:
    assert canonicalised(written(tmp_path / "out", member(time=time))) == expected


def test_a_file_over_the_bound_is_left(tmp_path: Path) -> None:
    file = written(tmp_path / "out", member())
    os.truncate(file, MAX_FILE_BYTES + 1)
    assert canonicalised(file) is None
    with file.open("rb") as read:
        assert time_of(read.read(10)) == INSIDE


@pytest.mark.parametrize("name", ["out.gz", "x" * 255, "\N{SNOWMAN}" * 85, "-", "a b\n"])
def test_any_name_will_do_and_nothing_is_left_beside(tmp_path: Path, name: str) -> None:
    file = written(tmp_path / name, member())
    assert canonicalised(file) == "gzip"
    assert list(tmp_path.iterdir()) == [file]


def test_files_of_the_action_beside_it_are_not_touched_or_followed(tmp_path: Path) -> None:
    # An action that guesses the name of the new file could have it written somewhere else.
    folder = tmp_path / "outputs"
    folder.mkdir()
    elsewhere = written(tmp_path / "elsewhere", b"not the action's")
    file = written(folder / "out", member())
    for name in [".out.canonical", ".canonical-", "out.new", "out.tmp", ".out"]:
        (folder / name).symlink_to(elsewhere)
    before = {entry.name for entry in folder.iterdir()}
    assert canonicalised(file) == "gzip"
    assert elsewhere.read_bytes() == b"not the action's"
    assert {entry.name for entry in folder.iterdir()} == before
    assert file.is_file()
    assert not file.is_symlink()
