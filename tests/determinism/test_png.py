from __future__ import annotations

import re
import time
import zlib
from pathlib import Path

import pytest

from determinism.format import Declined
from determinism.formats.png import FORMAT, MAGIC
from tests.determinism.made import AFTER, BEFORE, INSIDE, WINDOW, canonical, run, today, written

CONVERT = "convert-im6.q16"
HEADER = bytes([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0])  # one grey pixel
PIXELS = zlib.compress(b"\0\x7f")
INSIDE_TEXT, LATER_TEXT = b"2027-01-15T08:00:30", b"2027-01-15T08:00:31"
DATE = rb"\d{4}-\d\d-\d\dT[\d:+]+| +\d+ \w+ \d{4} [\d:]+"  # as pngcheck tells them


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def image(*chunks: bytes) -> bytes:
    middle = b"".join(chunks)
    return MAGIC + chunk(b"IHDR", HEADER) + middle + chunk(b"IDAT", PIXELS) + chunk(b"IEND", b"")


def time_chunk(seconds: int) -> bytes:
    # 1,800,000,000 seconds after the start of 1970 is 2027-01-15 08:00:00.
    minute, second = divmod(seconds - 1_800_000_000, 60)
    return chunk(b"tIME", (2027).to_bytes(2, "big") + bytes([1, 15, 8, minute, second]))


def texts(date: bytes) -> list[bytes]:
    return [
        chunk(b"tEXt", b"date:create\0" + date + b"+00:00"),
        chunk(b"tEXt", b"date:modify\0" + date + b"Z"),
        chunk(b"tEXt", b"date:timestamp\0" + date.replace(b"T08", b"T10") + b"+02:00"),
        chunk(b"zTXt", b"create-date\0\0" + zlib.compress(date + b"Z")),
        chunk(b"iTXt", b"modify-date\0\0\0en\0changed\0" + date + b"Z"),
        chunk(b"iTXt", b"Creation Time\0\1\0\0\0" + zlib.compress(date + b"Z")),
        chunk(b"tEXt", b"Creation Time\0Fri, 15 Jan 2027 " + date[11:] + b" GMT"),
    ]


def checked(folder: Path, data: bytes) -> bytes:
    """Return what pngcheck tells of an image, which is an error if it has one."""
    written(folder / "told.png", data)
    return run("pngcheck", "-vt", "told.png", cwd=folder)


def drawn(folder: Path) -> bytes:
    run(CONVERT, "-size", "8x8", "xc:red", "o.png", cwd=folder)
    return (folder / "o.png").read_bytes()


def test_runs_of_imagemagick_at_two_times_give_the_same_image(tmp_path: Path) -> None:
    conditions = today()
    first = drawn(tmp_path)
    time.sleep(1.1)  # the grain of its clock is a second
    then = drawn(tmp_path)
    assert first != then
    assert canonical(FORMAT, first, conditions) == canonical(FORMAT, then, conditions)


def test_the_image_is_the_same_before_and_after(tmp_path: Path) -> None:
    before = drawn(tmp_path)
    after = canonical(FORMAT, before, today())
    assert before != after
    told = []
    for data in (before, after):
        pngcheck = re.sub(DATE, b"", checked(tmp_path, data))
        pixels = run("identify", "-format", "%# %w %h %[type] %z", "told.png", cwd=tmp_path)
        told.append((pngcheck, pixels))
    assert told[0] == told[1]


@pytest.mark.parametrize("number", range(7))
def test_dates_of_the_action_in_texts_become_one_constant(tmp_path: Path, number: int) -> None:
    first, then = (
        canonical(FORMAT, image(texts(date)[number]), WINDOW) for date in (INSIDE_TEXT, LATER_TEXT)
    )
    assert first == then
    assert b"2000" in first
    checked(tmp_path, first)


def test_the_time_of_change_becomes_one_constant(tmp_path: Path) -> None:
    made = {canonical(FORMAT, image(time_chunk(INSIDE + n)), WINDOW) for n in range(3)}
    assert len(made) == 1
    assert b"1 Jan 2000 00:00:00 UTC" in checked(tmp_path, made.pop())


@pytest.mark.parametrize("seconds", [BEFORE, AFTER])
def test_times_outside_the_window_stay(seconds: int) -> None:
    minute = 59 if seconds == BEFORE else 1
    text = b"2027-01-15T0%d:%02d:%02dZ" % (7 if seconds == BEFORE else 8, minute, seconds % 60)
    data = image(chunk(b"tEXt", b"date:create\0" + text))
    assert canonical(FORMAT, data, WINDOW) == data


@pytest.mark.parametrize(
    "data",
    [
        chunk(b"tIME", b"\x07\xd0\x0d\x01\0\0\0"),
        chunk(b"tIME", b"short"),
        chunk(b"tEXt", b"Comment\0" + INSIDE_TEXT + b"Z"),
        chunk(b"tEXt", b"date:create\0built " + INSIDE_TEXT + b"Z"),
        chunk(b"tEXt", b"date:create"),
        chunk(b"tEXt", b"Creation Time\0Fri, 15 Foo 2027 08:00:30 GMT"),
        chunk(b"zTXt", b"date:create\0\0no zlib stream"),
        chunk(b"zTXt", b"date:create\0\0" + zlib.compress(b"1" * 100_000)),
        chunk(b"iTXt", b"date:create"),
    ],
)
def test_what_is_no_date_stays(data: bytes) -> None:
    assert canonical(FORMAT, image(data), WINDOW) == image(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (image(chunk(b"acTL", bytes(8)), time_chunk(INSIDE)), "acTL"),
        (image(chunk(b"caBX", b"signed"), time_chunk(INSIDE)), "caBX"),
        (image(time_chunk(INSIDE)) + b"more", "follows"),
        (image(time_chunk(INSIDE))[:-1], "cut short"),
        (image(time_chunk(INSIDE)).replace(PIXELS, PIXELS[::-1]), "checksum"),
        (MAGIC, "cut short"),
        (MAGIC + chunk(b"IEND", b""), "out of order"),
        (b"text", "no PNG"),
    ],
    ids=str,
)
def test_what_is_not_an_image_as_a_whole_is_declined(data: bytes, why: str) -> None:
    with pytest.raises(Declined, match=why):
        FORMAT.edits(data, WINDOW)
