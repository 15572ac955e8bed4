from __future__ import annotations

import re
from pathlib import Path

import pytest

from determinism.format import Declined
from determinism.formats.pe import FORMAT
from tests.determinism.made import BEFORE, INSIDE, WINDOW, canonical, run, written

TARGETS = ("x86_64", "i386", "aarch64")
CODE = "__declspec(dllexport) int entry(void) { return 3; }\n"
RESOURCES = '1 VERSIONINFO\nFILEVERSION 1,0,0,0\nBEGIN\nEND\n7 RCDATA { "seven" }\n'


def linked(
    folder: Path, *options: str, time: int = INSIDE, target: str = "x86_64", code: str = CODE
) -> bytes:
    """Return a library of Windows, as LLD links it."""
    written(folder / "m.c", code)
    triple = f"--target={target}-pc-windows-msvc"
    run("clang", triple, "-ffreestanding", "-c", "m.c", "-o", "m.obj", cwd=folder)
    common = (
        "/nodefaultlib",
        "/noentry",
        "/dll",
        "/safeseh:no",
        f"/timestamp:{time}",
        "/out:m.dll",
    )
    run("lld-link", "m.obj", *common, *options, cwd=folder)
    return (folder / "m.dll").read_bytes()


def with_resources(folder: Path, time: int) -> bytes:
    written(folder / "m.rc", RESOURCES)
    run("llvm-rc-14", "/fo", "m.res", "m.rc", cwd=folder)
    return linked(folder, "m.res", time=time)


def stamps_of(folder: Path, data: bytes) -> list[bytes]:
    """Return what llvm-readobj tells of an image, with its stamps apart from the rest."""
    written(folder / "told.dll", data)
    parts = (
        "--file-headers",
        "--sections",
        "--coff-exports",
        "--coff-debug-directory",
        "--coff-resources",
        "--section-data",
    )
    told = run("llvm-readobj", *parts, "told.dll", cwd=folder)
    return re.split(rb"Time/Date Stamp: |TimeDateStamp: |CheckSum: ", told)


def checksum_of(data: bytes, at: int) -> int:
    """Return the checksum of an image, word by word, as imagehlp's CheckSumMappedFile does."""
    total = 0
    even = data[:at] + bytes(4) + data[at + 4 :] + b"\0" * (len(data) % 2)
    for place in range(0, len(even), 2):
        total += int.from_bytes(even[place : place + 2], "little")
        total = (total & 0xFFFF) + (total >> 16)
    return total + len(data)


def checksum_at(data: bytes) -> int:
    return int.from_bytes(data[0x3C:0x40], "little") + 24 + 64


def summed(data: bytes) -> bytes:
    at = checksum_at(data)
    return data[:at] + checksum_of(data, at).to_bytes(4, "little") + data[at + 4 :]


def with_directory(data: bytes, index: int, address: int, size: int) -> bytes:
    at = int.from_bytes(data[0x3C:0x40], "little") + 24 + 112 + index * 8
    entry = address.to_bytes(4, "little") + size.to_bytes(4, "little")
    return data[:at] + entry + data[at + 8 :]


@pytest.mark.parametrize("target", TARGETS)
def test_images_of_two_times_become_the_same(tmp_path: Path, target: str) -> None:
    first, then = (linked(tmp_path, time=INSIDE + n, target=target) for n in range(2))
    assert first != then
    made = canonical(FORMAT, first, WINDOW)
    assert made == canonical(FORMAT, then, WINDOW)
    assert INSIDE.to_bytes(4, "little") not in made
    assert len(made) == len(first)


@pytest.mark.parametrize("option", ["/cetcompat", "/export:other=entry"])
def test_directories_of_images_of_two_times_become_the_same(tmp_path: Path, option: str) -> None:
    first, then = (linked(tmp_path, option, time=INSIDE + n) for n in range(2))
    made = canonical(FORMAT, first, WINDOW)
    assert made == canonical(FORMAT, then, WINDOW)
    before, after = stamps_of(tmp_path, first), stamps_of(tmp_path, made)
    assert len(before) == len(after) >= 3 - (option != "/cetcompat")


def test_nothing_else_is_told_by_readobj(tmp_path: Path) -> None:
    data = linked(tmp_path, "/cetcompat")
    for before, after in zip(
        stamps_of(tmp_path, data), stamps_of(tmp_path, canonical(FORMAT, data, WINDOW)), strict=True
    ):
        drop = rb"^[^\n]*\n|^ +[0-9A-F]{4}: [^\n]*\n"
        assert re.sub(drop, b"", before, flags=re.MULTILINE) == re.sub(
            drop, b"", after, flags=re.MULTILINE
        )


def test_images_with_resources_become_the_same(tmp_path: Path) -> None:
    first, then = (with_resources(tmp_path, INSIDE + n) for n in range(2))
    made = canonical(FORMAT, first, WINDOW)
    assert made == canonical(FORMAT, then, WINDOW)
    assert b"seven" in made


def test_a_stamp_outside_the_window_stays(tmp_path: Path) -> None:
    data = linked(tmp_path, time=BEFORE)
    assert canonical(FORMAT, data, WINDOW) == data


@pytest.mark.parametrize("padding", [b"", b"\0"], ids=["even", "odd"])
def test_a_checksum_stays_right(tmp_path: Path, padding: bytes) -> None:
    data = summed(linked(tmp_path) + padding)
    made = canonical(FORMAT, data, WINDOW)
    assert made != data
    assert made == summed(made)
    assert made[checksum_at(made) :][:4] != data[checksum_at(data) :][:4]


def test_a_checksum_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    made = canonical(FORMAT, linked(tmp_path), WINDOW)
    assert made[checksum_at(made) :][:4] == bytes(4)


def test_a_checksum_that_is_wrong_is_declined(tmp_path: Path) -> None:
    data = linked(tmp_path)
    at = checksum_at(data)
    with pytest.raises(Declined, match="checksum"):
        FORMAT.edits(data[:at] + b"\1" + data[at + 1 :], WINDOW)


@pytest.mark.parametrize("option", ["/debug", "/Brepro"])
def test_hashes_and_debug_information_elsewhere_are_declined(tmp_path: Path, option: str) -> None:
    with pytest.raises(Declined, match="elsewhere"):
        FORMAT.edits(linked(tmp_path, option), WINDOW)


@pytest.mark.parametrize(("index", "why"), [(4, "Authenticode"), (11, "bound"), (14, "assembly")])
def test_what_is_made_for_just_these_bytes_is_declined(
    tmp_path: Path, index: int, why: str
) -> None:
    data = linked(tmp_path)
    with pytest.raises(Declined, match=why):
        FORMAT.edits(with_directory(data, index, len(data), 8), WINDOW)


def test_imports_that_are_bound_are_declined(tmp_path: Path) -> None:
    linked(tmp_path)
    code = "__declspec(dllimport) int entry(void);\nint own(void) { return entry(); }\n"
    run(
        "llvm-dlltool-14",
        "-m",
        "i386:x86-64",
        "-d",
        written(tmp_path / "l.def", "LIBRARY m.dll\nEXPORTS\nentry\n"),
        "-l",
        "l.lib",
        cwd=tmp_path,
    )
    data = linked(tmp_path, "l.lib", "/export:own", code=code)
    assert canonical(FORMAT, data, WINDOW) != data
    told = run("llvm-readobj", "--file-headers", "--sections", "m.dll", cwd=tmp_path).decode()
    table = int(re.findall(r"ImportTableRVA: 0x(\w+)", told)[0], 16)
    address, start = next(
        (int(address, 16), int(raw, 16))
        for address, raw in re.findall(
            r"VirtualAddress: 0x(\w+)\s+RawDataSize: \d+\s+PointerToRawData: 0x(\w+)", told
        )
        if 0 <= table - int(address, 16) < 0x1000
    )
    at = start + table - address + 4
    with pytest.raises(Declined, match="bound"):
        FORMAT.edits(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :], WINDOW)


def test_what_follows_the_last_section_is_declined(tmp_path: Path) -> None:
    # Installers keep their contents there, and check themselves as a whole.
    with pytest.raises(Declined, match="follows"):
        FORMAT.edits(linked(tmp_path) + b"archive", WINDOW)


@pytest.mark.parametrize("data", [b"MZ", b"MZ" + bytes(100), b"text", b"MZ" + b"\xff" * 100])
def test_other_files_are_declined(data: bytes) -> None:
    with pytest.raises(Declined, match="no PE"):
        FORMAT.edits(data, WINDOW)
