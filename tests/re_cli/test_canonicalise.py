from __future__ import annotations

import gzip
import json
import os
import time
import zlib
from pathlib import Path

from tests.re_cli.command import Holdfast

holdfast = Holdfast("127.0.0.1:1")
NOW = int(time.time())


def made(folder: Path) -> tuple[Path, Path, Path]:
    """Return a file that would change, one that is canonical, and one that is cut short."""
    files = [folder / name for name in ("new.gz", "done.gz", "broken.gz")]
    data = gzip.compress(b"text", mtime=NOW)
    files[0].write_bytes(data)
    files[1].write_bytes(data[:4] + bytes(4) + data[8:])
    files[2].write_bytes(data[:-1])
    return files[0], files[1], files[2]


def test_it_says_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    new, *others = made(tmp_path)
    before = new.read_bytes()
    done = holdfast("canonicalise", new, *others)
    assert (done.status, done.stderr) == (0, "")
    assert done.lines == [f"{new}: would change: gzip (1 range, 4 bytes)"]
    assert new.read_bytes() == before


def test_the_reasons_are_told_when_asked_for(tmp_path: Path) -> None:
    new, finished, broken = made(tmp_path)
    done = holdfast("canonicalise", "--verbose", new, finished, broken)
    assert done.lines[1:] == [
        f"{finished}: nothing to do",
        f"{broken}: left: gzip: the last member is cut short",
    ]
    sums = tmp_path / "CRC"
    sums.write_text(f"{zlib.crc32(new.read_bytes()):08x}\n")
    assert (
        f"{new}: left: its digest stands in {sums}"
        in holdfast("canonicalise", "-v", new, sums).lines
    )


def test_check_is_for_ci(tmp_path: Path) -> None:
    new, finished, broken = made(tmp_path)
    assert holdfast("canonicalise", "--check", finished, broken).status == 0
    done = holdfast("canonicalise", "--check", new, finished)
    assert done.status == 1
    assert str(new) in done.text


def test_files_are_rewritten_when_asked_for(tmp_path: Path) -> None:
    new, finished, _ = made(tmp_path)
    done = holdfast("canonicalise", "--write", new)
    assert (done.status, done.lines) == (0, [f"{new}: rewritten: gzip (1 range, 4 bytes)"])
    assert new.read_bytes() == finished.read_bytes()
    assert holdfast("canonicalise", "--check", new).status == 0


def test_json_is_for_programs(tmp_path: Path) -> None:
    new, _, broken = made(tmp_path)
    done = holdfast("canonicalise", "--json", new, broken)
    assert json.loads(done.stdout) == [
        {
            "file": str(new),
            "formats": ["gzip"],
            "ranges": 1,
            "bytes": 4,
            "declined": [],
            "rewritten": False,
        },
        {
            "file": str(broken),
            "formats": [],
            "ranges": 0,
            "bytes": 0,
            "declined": [{"format": "gzip", "why": "the last member is cut short"}],
            "rewritten": False,
        },
    ]


def test_a_window_leaves_other_times_alone(tmp_path: Path) -> None:
    new, *_ = made(tmp_path)
    assert holdfast("canonicalise", "--check", "--window", "1h", "0s", new).status == 1
    window = ("--window", "2020-01-01", "2020-01-02T03:04:05Z")
    assert holdfast("canonicalise", "--check", *window, new).status == 0
    assert holdfast("canonicalise", "--window", "yesterday", "0s", new).status == 2


def test_formats_that_are_not_harmless_are_named_or_all_applied(tmp_path: Path) -> None:
    file = tmp_path / "it is.cpio"
    fields = (9, 0o100644, 0, 0, 1, NOW, 0, 8, 1, 0, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    trailer = b"070701" + b"00000000" * 11 + b"%08X" % 11 + b"00000000TRAILER!!!\0\0\0\0"
    file.write_bytes(header + b"%08X" % 2 + b"00000000a\0" + trailer)
    assert holdfast("canonicalise", "--check", file).status == 0
    assert holdfast("canonicalise", "--check", "--all", file).status == 1
    assert holdfast("canonicalise", "--check", "--format", "cpio", file).status == 1
    assert holdfast("canonicalise", "--format", "unknown", file).status == 2


def test_wrong_usage_is_told(tmp_path: Path) -> None:
    new, *_ = made(tmp_path)
    assert holdfast("canonicalise").status == 2
    assert holdfast("canonicalise", tmp_path / "missing").status == 2
    assert holdfast("canonicalise", "--check", "--write", new).status == 2
    assert os.access(new, os.W_OK)
