from __future__ import annotations

from pathlib import Path

import pytest

from determinism.format import Declined
from determinism.formats.coff_object import FORMAT
from tests.determinism.made import BEFORE, INSIDE, WINDOW, canonical, run, written

CODE = 'int puts(const char *);\nint g = 3;\nint entry(void) { return g + puts("x"); }\n'


def stamped(data: bytes, at: int, time: int = INSIDE) -> bytes:
    return data[:at] + time.to_bytes(4, "little") + data[at + 4 :]


def compiled(folder: Path, target: str = "x86_64", *options: str) -> bytes:
    written(folder / "m.c", CODE)
    triple = f"--target={target}-pc-windows-msvc"
    run("clang", triple, *options, "-ffreestanding", "-c", "m.c", "-o", "m.obj", cwd=folder)
    return (folder / "m.obj").read_bytes()


def import_objects(folder: Path) -> list[bytes]:
    """Return the short objects of an import library. Their headers end with the size."""
    written(folder / "l.def", "LIBRARY l.dll\nEXPORTS\nentry\nother\n")
    run("llvm-dlltool-14", "-m", "i386:x86-64", "-d", "l.def", "-l", "l.lib", cwd=folder)
    library = (folder / "l.lib").read_bytes()
    found, at = [], library.find(b"\0\0\xff\xff\0\0")
    while at >= 0:
        end = at + 20 + int.from_bytes(library[at + 12 : at + 16], "little")
        found.append(library[at:end])
        at = library.find(b"\0\0\xff\xff\0\0", end)
    return found


@pytest.mark.parametrize("target", ["x86_64", "i386", "aarch64", "armv7"])
def test_the_time_of_compilation_becomes_zero(tmp_path: Path, target: str) -> None:
    data = stamped(compiled(tmp_path, target, "-g"), 4)
    made = canonical(FORMAT, data, WINDOW)
    assert made == stamped(data, 4, 0)
    written(tmp_path / "canonical.obj", made)
    assert b"TimeDateStamp: 1970-01-01 00:00:00 (0x0)" in run(
        "llvm-readobj", "--file-headers", "canonical.obj", cwd=tmp_path
    )


def test_the_linker_makes_the_same_of_it(tmp_path: Path) -> None:
    made = canonical(FORMAT, stamped(compiled(tmp_path), 4), WINDOW)
    written(tmp_path / "canonical.obj", made)
    images = []
    for name in ("m", "canonical"):
        options = (
            "/noentry",
            "/dll",
            "/nodefaultlib",
            "/force:unresolved",
            "/timestamp:1",
            "/out:o.dll",
        )
        run("lld-link", f"{name}.obj", *options, cwd=tmp_path)
        images.append((tmp_path / "o.dll").read_bytes())
    assert images[0] == images[1]


def test_objects_with_more_sections_than_the_header_has_room_for_are_read(tmp_path: Path) -> None:
    source = "".join(f'.section .t{n},"xr"\nnop\n' for n in range(65_300))
    written(tmp_path / "m.s", source)
    target = "--target=x86_64-pc-windows-msvc"
    run("clang", target, "-c", "m.s", "-o", "m.obj", cwd=tmp_path)
    data = stamped((tmp_path / "m.obj").read_bytes(), 8)
    assert data[:4] == b"\0\0\xff\xff"
    assert canonical(FORMAT, data, WINDOW) == stamped(data, 8, 0)


def test_objects_of_import_libraries_are_read(tmp_path: Path) -> None:
    objects = import_objects(tmp_path)
    assert len(objects) == 2
    for each in objects:
        assert canonical(FORMAT, stamped(each, 8), WINDOW) == stamped(each, 8, 0)
        with pytest.raises(Declined):
            FORMAT.edits(stamped(each, 8) + b"\0", WINDOW)


def test_a_stamp_outside_the_window_stays(tmp_path: Path) -> None:
    data = stamped(compiled(tmp_path), 4, BEFORE)
    assert canonical(FORMAT, data, WINDOW) == data


def test_what_does_not_wholly_parse_is_declined(tmp_path: Path) -> None:
    data = stamped(compiled(tmp_path), 4)
    for broken in (data + b"\0", data[:-1], data[:18], data[:30], data[:16] + b"\1" + data[17:]):
        with pytest.raises(Declined):
            FORMAT.edits(broken, WINDOW)


@pytest.mark.parametrize("text", [b"", b"d\x86", b"L\1" + b"text" * 200, b"\0\0\xff\xff" * 20])
def test_other_files_are_declined(text: bytes) -> None:
    with pytest.raises(Declined):
        FORMAT.edits(text, WINDOW)
