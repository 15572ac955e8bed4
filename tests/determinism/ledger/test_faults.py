"""Damaged files, full disks, killed processes: the ledger may lose something, and nothing else."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from determinism.ledger.reading import LedgerUnreadable
from determinism.ledger.retention import LedgerLimits
from determinism.policy import Verdict
from tests.determinism.ledger.seen import DAY, LIMITS, difference, key, ledger, rows, seen
from tests.determinism.ledger.telling import BURST, LINE

ROUNDS = int(os.environ.get("HOLDFAST_SOAK_ROUNDS", "5"))  # `make soak` sets 100


def fill(folder: Path, count: int) -> None:
    with ledger(folder) as kept:
        for number in range(count):
            kept.record(seen(f"{number}", {"out": f"{number}"}))


async def test_a_file_that_is_no_database_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 1000)
    with ledger(tmp_path) as kept:
        kept.record(seen("action", {}))
        assert await kept.explain(key("action")) is not None
    assert (tmp_path / "ledger.sqlite.damaged").read_bytes().startswith(b"not a database")
    (told,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "is damaged" in told.getMessage()


async def test_a_database_of_another_program_or_format_is_set_aside(tmp_path: Path) -> None:
    for statement in ("CREATE TABLE other (id)", "PRAGMA user_version = 99"):
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as other:
            other.execute(statement)
            other.commit()
        with ledger(tmp_path) as kept:
            kept.record(seen("action", {}))
            assert await kept.explain(key("action")) is not None
        assert (tmp_path / "ledger.sqlite.damaged").exists()


async def test_a_file_that_was_cut_short_is_set_aside_when_that_is_seen(tmp_path: Path) -> None:
    fill(tmp_path, 2000)
    path = tmp_path / "ledger.sqlite"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with ledger(tmp_path) as kept:
        kept.record(seen("action", {}))
        assert await kept.explain(key("action")) is not None
    assert (tmp_path / "ledger.sqlite.damaged").exists()


async def test_a_file_that_is_overwritten_in_places_is_set_aside_when_that_is_seen(
    tmp_path: Path,
) -> None:
    fill(tmp_path, 2000)
    with (tmp_path / "ledger.sqlite").open("r+b") as file:
        for page in range(3, 200):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    with ledger(tmp_path) as kept:
        for number in range(500):
            kept.record(seen(f"another {number}", {"out": f"another {number}"}))
            kept.hit(key(f"{number}"))
        kept.flush()
        kept.record(seen("action", {}))
        assert await kept.explain(key("action")) is not None
    assert (tmp_path / "ledger.sqlite.damaged").exists()
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


async def test_an_entry_that_cannot_be_written_takes_no_other_with_it(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        for number in range(20):
            exit_code = 1 << 70 if number == 7 else 0
            kept.record(seen(f"{number}", {"out": "1"}, exit_code=exit_code))
            kept.record(seen("x", {"\ud800": "1"} if number % 2 else {}, root="\ud800"))
        kept.flush()
        assert (kept.recorded, kept.dropped) == (19, 21)
        assert await kept.explain(key("8")) is not None
        assert await kept.explain(key("7")) is None
    assert rows(tmp_path, "SELECT count(*) FROM action") == [(19,)]


async def test_a_full_disk_costs_observations_and_nothing_else(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = small_disk / "stranger"
    with ledger(small_disk) as kept:
        kept.record(seen("before", {"out": "1"}))
        kept.flush()
        with stranger.open("wb", buffering=0) as file:
            file.write(bytes(7 << 20))
            for _ in range(10):
                for number in range(500):
                    kept.record(seen(f"{kept.dropped} {number}", {"out": f"{number}"}))
                kept.flush()
        assert kept.dropped
        assert await kept.explain(key("before")) is not None
        told = [each for each in caplog.records if "misses" in each.getMessage()]
        assert len(told) == 1
        stranger.unlink()
        kept.record(seen("after", {"out": "2"}))
        assert await kept.explain(key("after")) is not None
    assert rows(small_disk, "PRAGMA integrity_check") == [("ok",)]


async def test_a_file_that_cannot_be_opened_costs_observations_and_nothing_else(
    tmp_path: Path,
) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    with ledger(tmp_path) as kept:
        number = kept.record(seen("action", {"out": "1"}, Verdict.CONFLICT))
        kept.attributed(number, [difference()], latent=False)
        kept.flush()
        assert kept.dropped == 2
        assert kept.formats_for("gcc") == frozenset()
        assert kept.learned() == set()
        assert kept.totals().observations == {}
        with pytest.raises(LedgerUnreadable, match="cannot be read"):
            await kept.explain(key("action"))


def killed(folder: Path, first: int) -> int:
    """Run a process that tells, kill it; return the last number that was certain."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tests.determinism.ledger.telling",
        folder,
        str(first),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as telling:
        assert telling.stdout is not None
        told = b"".join(telling.stdout.read(LINE) for _ in range(5))
        telling.send_signal(signal.SIGKILL)
        told += telling.stdout.read()
    assert telling.returncode == -signal.SIGKILL
    return int(told.split()[-1])


async def test_what_was_flushed_survives_sigkill(tmp_path: Path) -> None:
    first = 0
    for _ in range(ROUNDS):
        last = killed(tmp_path, first)
        assert last >= first + BURST
        with ledger(tmp_path) as kept:
            assert await kept.explain(key(f"{last}")) is not None
            assert (kept.recorded, kept.dropped) == (0, 0)
        found = rows(tmp_path, "SELECT count(*) FROM action WHERE id <= ?", last + 1)
        assert found >= [(last - first + 1,)]
        first = last + 10_000
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    assert not (tmp_path / "ledger.sqlite.damaged").exists()


def test_a_ledger_that_may_hold_nothing_more_drops_what_comes(tmp_path: Path) -> None:
    with ledger(tmp_path, LedgerLimits(LIMITS.max_seconds + DAY, max_bytes=4096)) as kept:
        kept.record(seen("action", {}))
        kept.flush()
        assert (kept.recorded, kept.dropped) == (0, 1)
