from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from determinism.format import Edit
from determinism.formats.cpio import FORMAT
from tests.determinism.damage import damaged, made_canonical
from tests.determinism.made import BEFORE, INSIDE, WINDOW, canonical, run, written

STYLES = ["newc", "crc", "odc"]
NAMES = b"d\nd/hard\nd/one\nd/other\nd/soft\n"


def tree(folder: Path, time: int, *, first: str = "one") -> None:
    """Make files with other inodes each time. first: which name of two is made first."""
    top = folder / "d"
    for number in range(time % 7):
        written(folder / f"other-{number}", "takes an inode")
    written(top / first, "contents\n", mode=0o750)
    (top / ("hard" if first == "one" else "one")).hardlink_to(top / first)
    written(top / "other", "more")
    (top / "soft").symlink_to("one")
    for path in (*top.iterdir(), top):
        os.utime(path, (time, time), follow_symlinks=False)


def packed(folder: Path, style: str) -> bytes:
    return run("cpio", "--quiet", "-o", "-H", style, cwd=folder, stdin=NAMES)


def listed(folder: Path, data: bytes) -> list[list[str]]:
    """Return what cpio lists, without times."""
    lines = run("cpio", "--quiet", "-itvn", cwd=folder, stdin=data).decode().splitlines()
    return [line.split()[:5] + line.split()[8:] for line in lines]


@pytest.mark.parametrize("style", STYLES)
def test_other_inodes_devices_and_times_give_the_same_bytes(tmp_path: Path, style: str) -> None:
    made = []
    for number, first in enumerate(["one", "hard"]):
        folder = tmp_path / str(number)
        tree(folder, INSIDE + number, first=first)
        made.append(packed(folder, style))
    assert made[0] != made[1]
    assert canonical(FORMAT, made[0], WINDOW) == canonical(FORMAT, made[1], WINDOW)


@pytest.mark.parametrize("style", STYLES)
def test_cpio_lists_and_extracts_the_same(tmp_path: Path, style: str) -> None:
    tree(tmp_path, INSIDE)
    data = packed(tmp_path, style)
    made = canonical(FORMAT, data, WINDOW)
    assert made != data
    assert len(made) == len(data)
    assert listed(tmp_path, made) == listed(tmp_path, data)
    out = tmp_path / "out"
    out.mkdir()
    run("cpio", "--quiet", "-id", cwd=out, stdin=made)
    run("diff", "-r", "--no-dereference", out / "d", tmp_path / "d", cwd=tmp_path)
    assert (out / "d/hard").samefile(out / "d/one")
    assert not (out / "d/other").samefile(out / "d/one")


def test_a_time_that_the_action_did_not_write_stays(tmp_path: Path) -> None:
    tree(tmp_path, BEFORE)
    made = canonical(FORMAT, packed(tmp_path, "newc"), WINDOW)
    assert made.count(b"%08X" % BEFORE) == 5


@pytest.mark.parametrize(("style", "changed"), [("newc", True), ("odc", True), ("crc", False)])
def test_members_are_rewritten_where_no_sum_of_them_is_kept(
    tmp_path: Path, style: str, *, changed: bool
) -> None:
    tree(tmp_path, BEFORE)

    def member(data: bytes, name: str) -> list[Edit]:
        assert name != "d/soft"
        return [Edit(0, 1, b"X")] if name == "d/other" and data == b"more" else []

    made = canonical(FORMAT, packed(tmp_path, style), replace(WINDOW, member=member))
    assert (b"Xore" in made) == changed
    run("cpio", "--quiet", "-i", "--only-verify-crc", cwd=tmp_path, stdin=made)


def test_what_is_not_wholly_understood_is_left(tmp_path: Path) -> None:
    tree(tmp_path, INSIDE)
    data = packed(tmp_path, "newc")
    old = packed(tmp_path, "odc")
    at = data.index(b"TRAILER!!!") - 110
    faulty = {
        "no trailer": data[:at],
        "a trailer cut short": data[: at + 60],
        "garbage behind": data + b"g",
        "two archives": data + data,
        "another header": data[:at] + old[:76] + data[at:],
        "no number": data[:6] + b"xxxxxxxx" + data[14:],
        "a size beyond the end": data.replace(b"00000009", b"7FFFFFFF", 1),
    }
    assert {name for name, one in faulty.items() if made_canonical(FORMAT, one, WINDOW)} == set()


def header(inode: int, name: bytes, data: bytes = b"") -> bytes:
    fields = (inode, 0o100644, 0, 0, 2, INSIDE, len(data), 8, 1, 0, 0, len(name) + 1, 0)
    text = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
    text += bytes(-len(text) % 4)
    return text + data + bytes(-len(data) % 4)


SAMPLE = b"".join(
    [header(77, b"one"), header(77, b"two", b"text"), header(5, b"x"), header(0, b"TRAILER!!!")]
)


def test_inodes_are_numbered_in_the_order_of_their_first_appearance() -> None:
    made = canonical(FORMAT, SAMPLE, WINDOW)
    numbers = [made[at + 6 : at + 14] for at in range(len(made)) if made.startswith(b"070701", at)]
    assert numbers == [b"00000001", b"00000001", b"00000002", b"00000000"]


@settings(max_examples=300, deadline=None, database=None)
@given(damaged(SAMPLE))
def test_whatever_the_bytes_are_they_are_left_or_have_a_canonical_form(data: bytes) -> None:
    made_canonical(FORMAT, data, WINDOW)
