from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from determinism.format import Declined, Edit
from determinism.formats.tar import FORMAT
from tests.determinism.damage import damaged, made_canonical
from tests.determinism.made import AFTER, BEFORE, INSIDE, WINDOW, canonical, run, written

LONG = "/".join(["a-rather-long-name-of-a-folder"] * 8)
STYLES = ["ustar", "gnu", "posix", "oldgnu"]


def tree(folder: Path, time: float) -> Path:
    """Make a folder with a file of each kind, last changed at `time`."""
    top = folder / "tree"
    written(top / "file", "contents\n", mode=0o750)
    written(top / "empty", "")
    written(top / "big", bytes(range(256)) * 9)
    (top / "link").symlink_to("file")
    (top / "hard").hardlink_to(top / "big")
    for path in (*top.iterdir(), top):
        os.utime(path, (time, time), follow_symlinks=False)
    return top


def packed(folder: Path, *options: str) -> bytes:
    return run("tar", "-C", folder, "--sort=name", *options, "-cf", "-", "tree", cwd=folder)


def listed(folder: Path, data: bytes) -> list[str]:
    """Return what tar lists, without times."""
    lines = run("tar", "-tvf", "-", "--full-time", cwd=folder, stdin=data).decode().splitlines()
    return [" ".join(line.split()[:3] + line.split()[5:]) for line in lines]


def by_python(time: float, style: int = tarfile.PAX_FORMAT, name: str = "file") -> bytes:
    made = io.BytesIO()
    with tarfile.open(mode="w", fileobj=made, format=style) as archive:
        entry = tarfile.TarInfo(name)
        entry.mtime = time
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"text"))
    return made.getvalue()


def times(data: bytes) -> list[float]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [entry.mtime for entry in archive]


@pytest.mark.parametrize("style", STYLES)
def test_two_runs_of_tar_at_two_times_give_the_same_bytes(tmp_path: Path, style: str) -> None:
    made = []
    for number, time in enumerate([INSIDE, INSIDE + 1.25]):
        folder = tmp_path / str(number)
        tree(folder, time)
        made.append(packed(folder, f"--format={style}", "--owner=a:1", "--group=b:2"))
    if style == "posix":
        # Times of reading and of the inodes are now, of which the window knows nothing.
        made = [
            packed(tmp_path / n, "--format=posix", "--pax-option=delete=[ac]time") for n in "01"
        ]
    assert made[0] != made[1]
    first, then = (canonical(FORMAT, data, WINDOW) for data in made)
    if style == "posix":  # a whole second needs no extended header
        assert times(first) == times(then) == [0.0] * 6
    else:
        assert first == then


@pytest.mark.parametrize("style", STYLES)
def test_tar_lists_compares_and_extracts_the_same(tmp_path: Path, style: str) -> None:
    tree(tmp_path, INSIDE + 0.5)
    data = packed(tmp_path, f"--format={style}")
    made = canonical(FORMAT, data, WINDOW)
    assert made != data
    assert listed(tmp_path, made) == listed(tmp_path, data)
    out = tmp_path / "out"
    out.mkdir()
    run("tar", "-C", out, "-xf", "-", cwd=tmp_path, stdin=made)
    run("diff", "-r", "--no-dereference", out / "tree", tmp_path / "tree", cwd=tmp_path)
    assert (out / "tree/hard").samefile(out / "tree/big")
    assert run("tar", "-tf", "-", "--warning=all", cwd=tmp_path, stdin=made)


def test_times_with_more_or_fewer_digits_become_one(tmp_path: Path) -> None:
    texts = [f"{INSIDE}.5", f"{INSIDE}.25", f"{INSIDE}.123456789"]
    made = [canonical(FORMAT, _with_record(b"mtime", text.encode()), WINDOW) for text in texts]
    assert made[0] == made[1] == made[2]
    assert times(made[0]) == [0]


def _with_record(key: bytes, value: bytes, rest: bytes = b"") -> bytes:
    """Return an archive whose one file has an extended header."""
    body = b" " + key + b"=" + value + b"\n"
    record = b"%d" % (len(body) + 2) + body
    made = io.BytesIO()
    with tarfile.open(mode="w", fileobj=made, format=tarfile.USTAR_FORMAT) as archive:
        for name, type, data in (("x", b"x", record + rest), ("file", b"0", b"text")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.mtime = type, len(data), INSIDE
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def test_a_header_keeps_its_blocks_where_a_shorter_time_would_save_one() -> None:
    comment = b"%d comment=" % (512 - 25)
    rest = comment.ljust(512 - 26, b"c") + b"\n"
    rest = b"%d" % len(rest) + rest[3:]
    data = _with_record(b"mtime", f"{INSIDE}.123456".encode(), rest)
    made = canonical(FORMAT, data, WINDOW)
    assert len(made) == len(data)
    assert times(made) == [0]


@pytest.mark.parametrize("key", [b"mtime", b"atime", b"ctime", b"LIBARCHIVE.creationtime"])
def test_every_time_of_an_extended_header_is_rewritten(key: bytes) -> None:
    made = canonical(FORMAT, _with_record(key, b"%d.5" % INSIDE), WINDOW)
    assert b" " + key + b"=0\n" in made


def test_other_records_stay() -> None:
    rest = b"20 SCHILY.xattr.a=\xff\n"
    made = canonical(FORMAT, _with_record(b"mtime", b"%d.5" % INSIDE, rest), WINDOW)
    assert rest in made
    same = canonical(FORMAT, _with_record(b"comment", b"%d" % INSIDE), WINDOW)
    assert b"comment=%d\n" % INSIDE in same


def test_times_of_an_incremental_archive_are_rewritten(tmp_path: Path) -> None:
    tree(tmp_path, INSIDE)
    for path in (tmp_path / "tree").iterdir():
        os.utime(path, (INSIDE, INSIDE), follow_symlinks=False)
    data = packed(tmp_path, "--format=gnu", "--incremental")
    made = canonical(FORMAT, data, replace(WINDOW, begun=1.0))
    assert made[345:369] in (b"00000000000\0" * 2, bytes(24))
    assert listed(tmp_path, made) == listed(tmp_path, data)


def test_sparse_files_stay_whole(tmp_path: Path) -> None:
    file = tmp_path / "tree" / "holes"
    file.parent.mkdir()
    with file.open("wb") as made:
        for number in range(40):  # more pieces than the first header has room for
            made.seek(number * 70_000)
            made.write(b"piece %d" % number)
    os.utime(file, (INSIDE, INSIDE))
    for style in ("gnu", "posix"):
        data = packed(tmp_path, f"--format={style}", "--sparse")
        assert len(data) < 1_000_000
        canonical_form = canonical(FORMAT, data, WINDOW)
        assert canonical_form != data
        out = tmp_path / style
        out.mkdir()
        run("tar", "-C", out, "-xf", "-", cwd=tmp_path, stdin=canonical_form)
        assert (out / "tree/holes").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_writes_is_rewritten(style: int) -> None:
    data = by_python(INSIDE + 0.25 if style == tarfile.PAX_FORMAT else INSIDE, style, LONG[:99])
    made = canonical(FORMAT, data, WINDOW)
    assert times(made) == [0]


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_stay(style: int) -> None:
    made = canonical(FORMAT, by_python(INSIDE, style, LONG), WINDOW)
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        assert archive.getnames() == [LONG]


@pytest.mark.parametrize("time", [0, BEFORE, AFTER, 8**11])
def test_a_time_that_the_action_did_not_write_stays(time: int) -> None:
    data = by_python(time, tarfile.GNU_FORMAT)
    assert canonical(FORMAT, data, WINDOW) == data


def test_a_binary_number_becomes_a_binary_zero() -> None:
    data = bytearray(by_python(INSIDE, tarfile.GNU_FORMAT))
    data[136:148] = b"\x80" + INSIDE.to_bytes(11, "big")
    data[148:156] = b"%06o\0 " % (sum(data[:512]) - sum(data[148:156]) + 8 * 32)
    made = canonical(FORMAT, bytes(data), WINDOW)
    assert made[136:148] == b"\x80" + bytes(11)
    assert times(made) == [0]


def member_edits(data: bytes, name: str) -> list[Edit]:
    return [Edit(0, 1, b"X")] if data.startswith(b"t") else []


def test_members_are_rewritten_where_they_stand() -> None:
    data = by_python(BEFORE, tarfile.GNU_FORMAT)
    made = canonical(FORMAT, data, replace(WINDOW, member=member_edits))
    assert made == data.replace(b"text", b"Xext")


@pytest.mark.parametrize("name", ["manifest.json", "./oci-layout"])
def test_members_of_an_image_are_left(name: str) -> None:
    data = by_python(BEFORE, tarfile.GNU_FORMAT, name)
    assert canonical(FORMAT, data, replace(WINDOW, member=member_edits)) == data


def entry(**changes: object) -> bytes:
    made = io.BytesIO()
    with tarfile.open(mode="w", fileobj=made, format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("file")
        info.mtime = INSIDE
        for name, value in changes.items():
            setattr(info, name, value)
        archive.addfile(info)
    return made.getvalue()


PLAIN = by_python(INSIDE, tarfile.GNU_FORMAT)
FAULTY = {
    "cut short": PLAIN[:512],
    "one block of zeros": PLAIN[: 512 * 3],
    "not whole blocks": PLAIN[:-1],
    "garbage behind": PLAIN[:-1] + b"g",
    "two archives": PLAIN + PLAIN,
    "a wrong checksum": b"F" + PLAIN[1:],
    "an unknown type": entry(type=b"Z"),
    "a volume": entry(type=b"M"),
    "a link with contents": entry(type=b"1", size=5),
    "a record without a length": _with_record(b"mtime", b"1", b"garbage"),
    "a size that is no number": _with_record(b"size", b"x"),
}


@pytest.mark.parametrize("data", FAULTY.values(), ids=FAULTY.keys())
def test_what_is_not_wholly_understood_is_left(data: bytes) -> None:
    with pytest.raises(Declined):
        canonical(FORMAT, data, WINDOW)


@settings(max_examples=300, deadline=None, database=None)
@given(damaged(_with_record(b"mtime", b"%d.5" % INSIDE)[:4096]))
def test_whatever_the_bytes_are_they_are_left_or_have_a_canonical_form(data: bytes) -> None:
    made_canonical(FORMAT, data, WINDOW)


@settings(max_examples=60, deadline=None, database=None)
@given(
    strategies.lists(
        strategies.tuples(
            strategies.text(strategies.characters(categories=["L", "N"]), min_size=1, max_size=120),
            strategies.floats(min_value=BEFORE - 100, max_value=AFTER + 100),
            strategies.binary(max_size=1100),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_names_and_contents_stay_and_only_times_of_the_window_change(
    members: list[tuple[str, float, bytes]],
) -> None:
    file = io.BytesIO()
    with tarfile.open(mode="w", fileobj=file, format=tarfile.PAX_FORMAT) as archive:
        for name, time, data in members:
            info = tarfile.TarInfo(name)
            info.mtime, info.size = time, len(data)
            archive.addfile(info, io.BytesIO(data))
    made = canonical(FORMAT, file.getvalue(), WINDOW)
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        for (name, time, data), info in zip(members, archive, strict=True):
            content = archive.extractfile(info)
            assert content is not None
            assert (info.name, content.read()) == (name, data)
            assert info.mtime == (0 if WINDOW.written(time) else time)
