"""Opening a store's folder: who may, what is refused, and what the last end left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.disk_open import BOOT_ID, StoreUnusable
from cas.disk_room import DiskLimits
from tests.cas.disks import LIMITS, file_of, opened
from tests.cas.stores import noise, put

DURABLE = replace(LIMITS, durable=True)
OTHER_BOOT = "00000000-0000-4000-8000-000000000000\n"
SIZES = [10, 60, 5000, 300_000]


async def _filled(folder: Path, limits: DiskLimits = LIMITS) -> list[Digest]:
    with opened(folder, limits) as store:
        return [await put(store.blobs, noise(size)) for size in SIZES]


async def _found(folder: Path, limits: DiskLimits = LIMITS) -> int:
    """Return how many of the blobs are there, each of which is right."""
    with opened(folder, limits) as store:
        found = await store.blobs.read_many([Digest.of(noise(size)) for size in SIZES])
        assert all(Digest.of(data) == digest for digest, data in found.items())
        assert store.room.totals().blobs == len(found)
    return len(found)


async def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    digests = await _filled(tmp_path / "not" / "yet" / "there")
    for limits in [LIMITS, DURABLE, replace(LIMITS, inline_bytes=0), LIMITS]:
        assert await _found(tmp_path / "not" / "yet" / "there", limits) == len(digests)


async def test_inline_and_file_blobs_stay_what_they_are_when_the_limit_changes(
    tmp_path: Path,
) -> None:
    await _filled(tmp_path)
    with opened(tmp_path, replace(LIMITS, inline_bytes=6000)) as store:
        await put(store.blobs, noise(5000))
        assert file_of(tmp_path, Digest.of(noise(5000))).exists()
        assert store.room.totals().blobs == len(SIZES)


def test_a_second_opening_is_refused(tmp_path: Path) -> None:
    told = f"store.path {tmp_path} is in use by another process; stop it or choose another folder"
    with opened(tmp_path):
        with pytest.raises(StoreUnusable) as here, opened(tmp_path):
            pass
        other = subprocess.run(
            [sys.executable, "-m", "tests.cas.writing", tmp_path],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert str(here.value) == told
    assert other.returncode == 1
    assert told in other.stderr
    with opened(tmp_path):
        pass


def test_a_refused_opening_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        with pytest.raises(StoreUnusable), opened(tmp_path):
            pass
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


async def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    await _filled(tmp_path)
    for text in ["holdfast store 3\n", "", "\0\xff"]:
        (tmp_path / "format").write_text(text, encoding="latin-1")
        with (
            pytest.raises(StoreUnusable, match="this version reads 'holdfast store 1'"),
            opened(tmp_path),
        ):
            pass
    (tmp_path / "format").unlink()
    with pytest.raises(StoreUnusable, match="is not a store, or a damaged one"), opened(tmp_path):
        pass
    (tmp_path / "format").write_text("holdfast store 1\n")
    assert await _found(tmp_path) == len(SIZES)


async def test_a_damaged_index_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    await _filled(tmp_path)
    (tmp_path / "index" / "data.mdb").write_bytes(noise(100_000))
    with pytest.raises(StoreUnusable, match="where it is damaged remove the folder"):
        opened(tmp_path).__enter__()


def test_address_space_that_nobody_has_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreUnusable, match=r"lower store\.index_bytes"),
        opened(tmp_path, index_bytes=1 << 60),
    ):
        pass


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in [tmp_path / "file", tmp_path / "file" / "below"]:
        with pytest.raises(StoreUnusable, match=f"store.path {folder}: "), opened(folder):
            pass
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "blobs").write_text("")
    with (
        pytest.raises(StoreUnusable, match=f"store.path {tmp_path}/store/blobs: File exists"),
        opened(tmp_path / "store"),
    ):
        pass


@pytest.mark.parametrize("limits", [LIMITS, DURABLE], ids=["process", "fsync"])
def test_boot_stands_there_while_the_store_is_open(tmp_path: Path, limits: DiskLimits) -> None:
    with opened(tmp_path, limits):
        said = BOOT_ID.read_text() if limits is LIMITS else "fsync\n"
        assert (tmp_path / "boot").read_text() == said
    assert not (tmp_path / "boot").exists()


@pytest.mark.parametrize("now", [LIMITS, DURABLE], ids=["process", "fsync"])
@pytest.mark.parametrize("left", [OTHER_BOOT, "", "\0\0\0"], ids=["other", "empty", "zeros"])
async def test_what_was_open_when_the_machine_went_down_is_discarded(
    tmp_path: Path, now: DiskLimits, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    await _filled(tmp_path)
    (tmp_path / "boot").write_text(left)
    assert await _found(tmp_path, now) == 0
    assert "the machine went down" in caplog.text
    digests = await _filled(tmp_path, now)
    assert await _found(tmp_path, now) == len(digests)


@pytest.mark.parametrize("now", [LIMITS, DURABLE], ids=["process", "fsync"])
@pytest.mark.parametrize("left", [BOOT_ID.read_text, lambda: "fsync\n"], ids=["killed", "durable"])
async def test_what_survived_is_kept(
    tmp_path: Path, now: DiskLimits, left: Callable[[], str]
) -> None:
    await _filled(tmp_path)
    (tmp_path / "boot").write_text(left())
    assert await _found(tmp_path, now) == len(SIZES)


async def test_a_durable_store_is_trusted_after_any_end(tmp_path: Path) -> None:
    with opened(tmp_path, DURABLE) as store:
        digests = [await put(store.blobs, noise(size)) for size in SIZES]
        boot = (tmp_path / "boot").read_text()
    (tmp_path / "boot").write_text(boot)
    assert await _found(tmp_path) == len(digests)


async def test_an_error_in_the_block_is_no_loss(tmp_path: Path) -> None:
    async def fail() -> None:
        with opened(tmp_path) as store:
            await put(store.blobs, noise(SIZES[0]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await _found(tmp_path) == 1


async def test_unfinished_uploads_are_removed(tmp_path: Path) -> None:
    await _filled(tmp_path)
    (tmp_path / "incoming" / "0123").write_bytes(b"half of")
    with opened(tmp_path):
        assert list((tmp_path / "incoming").iterdir()) == []
    assert await _found(tmp_path) == len(SIZES)


def test_what_was_set_aside_goes_away_in_the_background(tmp_path: Path) -> None:
    aside = tmp_path / "discarded-0123"
    aside.mkdir()
    (aside / "file").write_bytes(b"old")
    watch = os.open(aside, os.O_RDONLY)
    with opened(tmp_path):
        while os.fstat(watch).st_nlink:
            pass
    os.close(watch)
    assert not aside.exists()


def test_an_open_store_has_what_the_format_names(tmp_path: Path) -> None:
    names = {"ballast", "blobs", "boot", "format", "incoming", "index", "lock", "quarantine"}
    with opened(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == names
