from __future__ import annotations

import re
from pathlib import Path

import pytest

from determinism.format import Declined
from determinism.formats.elf_image import FORMAT, identity
from tests.determinism.made import WINDOW, canonical, run, twice, with_inputs, written

MAIN = '#include <stdio.h>\nint g(void);\nint main(void) { printf("%d", g()); return 0; }\n'
PART = "\t.text\nlocal:\n\tmovl $7, %eax\n\tret\n\t.globl g\ng:\tjmp local\n"
PART += '\t.section .note.GNU-stack,"",@progbits\n'


def linked(folder: Path, *options: str, main: str = MAIN) -> bytes:
    written(folder / "main.c", main)
    written(folder / "part.s", PART)
    run("gcc", "main.c", "part.s", *options, "-o", "made", cwd=folder)
    return (folder / "made").read_bytes()


def told_of(folder: Path, data: bytes) -> tuple[bytes, ...]:
    """Return what tools tell of an image, without its build-id and its temporary names."""
    image = written(folder / "told" / "image", data, 0o755)
    told = (
        run(*command, "image", cwd=image.parent)
        for command in (("readelf", "-aW"), ("objdump", "-d"), ("nm",))
    )
    return tuple(re.sub(rb"Build ID: \w+|\bcc\w{6}\.o", b"", text) for text in told)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-Wl,--build-id=uuid",),
        ("-Wl,--build-id=md5", "-shared", "-fPIC"),
        ("-static",),
        ("-g", "-no-pie"),
    ],
    ids=" ".join,
)
def test_two_runs_of_gcc_give_the_same_bytes(tmp_path: Path, options: tuple[str, ...]) -> None:
    first, then = twice(lambda: linked(tmp_path, *options))
    made = canonical(FORMAT, first, WINDOW)
    assert made == canonical(FORMAT, then, WINDOW)
    assert len(made) == len(first)
    assert told_of(tmp_path, made) == told_of(tmp_path, first)


def test_random_build_ids_of_lld_become_the_same(tmp_path: Path) -> None:
    options = ["-c", "main.c", "-o", "main.o"]
    linked(tmp_path)
    run("gcc", *options, cwd=tmp_path)
    run("gcc", "-c", "part.s", "-o", "part.o", cwd=tmp_path)

    def link() -> bytes:
        run(
            "gcc",
            "-B/usr/lib/llvm-14/bin",
            "-fuse-ld=lld",
            "-Wl,--build-id=uuid",
            "main.o",
            "part.o",
            cwd=tmp_path,
        )
        return (tmp_path / "a.out").read_bytes()

    first, then = twice(link)
    assert canonical(FORMAT, first, WINDOW) == canonical(FORMAT, then, WINDOW)


@pytest.mark.parametrize("target", ["i386", "powerpc", "powerpc64", "aarch64"])
def test_words_and_orders_of_bytes_of_all_kinds_are_read(tmp_path: Path, target: str) -> None:
    written(tmp_path / "a.s", '.file "ccAbC1eF.s"\n.text\nnop\n')
    run("clang", f"--target={target}-linux-gnu", "-c", "a.s", "-o", "a.o", cwd=tmp_path)

    def link() -> bytes:
        run("ld.lld", "-shared", "--build-id=uuid", "a.o", "-o", "a.so", cwd=tmp_path)
        return (tmp_path / "a.so").read_bytes()

    first, then = twice(link)
    made = canonical(FORMAT, first, WINDOW)
    assert made == canonical(FORMAT, then, WINDOW)
    assert b"\0cc000000.s\0" in made


def test_the_program_runs_as_before(tmp_path: Path) -> None:
    image = written(tmp_path / "image", canonical(FORMAT, linked(tmp_path), WINDOW), 0o755)
    assert run(image, cwd=tmp_path) == b"7"


def test_a_shared_library_is_loaded_as_before(tmp_path: Path) -> None:
    data = linked(tmp_path, "-shared", "-fPIC", "-Wl,-soname,libpart.so")
    written(tmp_path / "libpart.so", canonical(FORMAT, data, WINDOW))
    run("gcc", "main.c", "-L.", "-lpart", "-Wl,-rpath,.", "-o", "user", cwd=tmp_path)
    assert run(tmp_path / "user", cwd=tmp_path) == b"7"


def test_other_contents_have_other_build_ids(tmp_path: Path) -> None:
    images = [linked(tmp_path, main=MAIN), linked(tmp_path, main=MAIN.replace("%d", "%x"))]
    ids = {identity(canonical(FORMAT, image, WINDOW)) for image in images}
    assert len(ids) == 2


def test_the_build_id_keeps_its_length_and_is_what_readelf_tells(tmp_path: Path) -> None:
    for style, size in (("sha1", 20), ("md5", 16), ("uuid", 16), ("0x0123456789abcdef", 8)):
        made = canonical(FORMAT, linked(tmp_path, f"-Wl,--build-id={style}"), WINDOW)
        written(tmp_path / "made", made)
        told = re.search(rb"Build ID: (\w+)", run("readelf", "-n", "made", cwd=tmp_path))
        assert told
        assert bytes.fromhex(told[1].decode()) == identity(made)
        assert len(told[1]) == 2 * size


def test_an_image_without_a_build_id_has_its_names_changed(tmp_path: Path) -> None:
    first, then = twice(lambda: linked(tmp_path, "-Wl,--build-id=none"))
    assert identity(first) is None
    assert canonical(FORMAT, first, WINDOW) == canonical(FORMAT, then, WINDOW)


def test_a_build_id_of_an_input_is_declined(tmp_path: Path) -> None:
    data = linked(tmp_path, "-g", "-Wl,--build-id=uuid")
    run("strip", "made", "-o", "stripped", cwd=tmp_path)
    with pytest.raises(Declined, match="of an input"):
        FORMAT.edits((tmp_path / "stripped").read_bytes(), with_inputs(WINDOW, data))


def changed_by(folder: Path, *command: str) -> bytes:
    linked(folder, "-g")
    run(*command, cwd=folder)
    return (folder / "made").read_bytes()


def test_debug_information_that_is_kept_apart_is_declined(tmp_path: Path) -> None:
    linked(tmp_path, "-g")
    run("objcopy", "--only-keep-debug", "made", "made.debug", cwd=tmp_path)
    run("objcopy", "--add-gnu-debuglink=made.debug", "made", "linked", cwd=tmp_path)
    with pytest.raises(Declined, match="of another file"):
        FORMAT.edits((tmp_path / "made.debug").read_bytes(), WINDOW)
    with pytest.raises(Declined, match="debuglink"):
        FORMAT.edits((tmp_path / "linked").read_bytes(), WINDOW)


@pytest.mark.parametrize("form", ["bytes", "digits"])
def test_a_build_id_that_stands_in_the_image_once_more_is_declined(
    tmp_path: Path, form: str
) -> None:
    old = identity(linked(tmp_path))
    assert old
    written(tmp_path / "copy", old if form == "bytes" else old.hex())
    run("objcopy", "--add-section=.copy=copy", "made", cwd=tmp_path)
    with pytest.raises(Declined, match="stands in it"):
        FORMAT.edits((tmp_path / "made").read_bytes(), WINDOW)


def test_signatures_and_whatever_is_appended_are_declined(tmp_path: Path) -> None:
    data = linked(tmp_path)
    with pytest.raises(Declined, match="follows"):
        FORMAT.edits(data + b"PK\x05\x06" + bytes(18), WINDOW)
    written(tmp_path / "signature", b"signed")
    run("objcopy", "--add-section=.signature=signature", "made", cwd=tmp_path)
    with pytest.raises(Declined, match="signature"):
        FORMAT.edits((tmp_path / "made").read_bytes(), WINDOW)


def test_padding_is_no_appendix(tmp_path: Path) -> None:
    assert canonical(FORMAT, linked(tmp_path) + bytes(4096), WINDOW)


def test_objects_core_files_and_others_have_no_such_form(tmp_path: Path) -> None:
    linked(tmp_path)
    run("gcc", "-c", "main.c", "-o", "main.o", cwd=tmp_path)
    data = (tmp_path / "made").read_bytes()
    for head in ((tmp_path / "main.o").read_bytes(), data[:16] + b"\4\0" + data[18:], b"text"):
        assert not FORMAT.matches(head[:512], b"", "core")
        with pytest.raises(Declined):
            FORMAT.edits(head, WINDOW)
    assert identity(b"text") is None


def test_a_build_id_that_follows_from_bytes_that_stay_is_left(tmp_path: Path) -> None:
    written(tmp_path / "alone.c", "int main(void) { return 0; }\n")
    run("gcc", "-c", "alone.c", cwd=tmp_path)
    run("gcc", "alone.o", "-Wl,--build-id=sha1", "-o", "made", cwd=tmp_path)
    data = (tmp_path / "made").read_bytes()
    assert identity(data)
    assert FORMAT.edits(data, WINDOW) == ()
