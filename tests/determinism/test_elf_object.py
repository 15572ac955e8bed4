from __future__ import annotations

import re
from pathlib import Path

import pytest

from determinism.format import Declined, applied
from determinism.formats.elf_object import FORMAT
from tests.determinism.made import WINDOW, canonical, run, twice, with_inputs, written

ASSEMBLY = "\t.text\nlocal:\n\tnop\n\t.globl g\ng:\tret\n"
NVCC = "tmpxft_00000bc6_00000000-6_k.cudafe1.cpp"


def partly_linked(folder: Path, *sources: str) -> bytes:
    """Return an object with the names of GCC's temporary objects: its sources have no .file."""
    names = [f"{number}.s" for number in range(len(sources))]
    for name, source in zip(names, sources, strict=True):
        written(folder / name, source)
    run("gcc", "-r", *names, "-o", "made.o", cwd=folder)
    return (folder / "made.o").read_bytes()


def file_names(data: bytes, folder: Path) -> list[str]:
    """Return the names of STT_FILE symbols, as readelf tells them."""
    written(folder / "told.o", data)
    told = run("readelf", "-sW", "told.o", cwd=folder).decode()
    return re.findall(r" FILE +LOCAL +DEFAULT +ABS (\S+)", told)


def assembled(folder: Path, source: str, target: str = "x86_64-linux-gnu") -> bytes:
    written(folder / "source.s", source)
    run("clang", f"--target={target}", "-c", "source.s", "-o", "made.o", cwd=folder)
    return (folder / "made.o").read_bytes()


def test_two_runs_of_gcc_give_the_same_bytes(tmp_path: Path) -> None:
    first, then = twice(lambda: partly_linked(tmp_path, ASSEMBLY))
    made = canonical(FORMAT, first, WINDOW)
    assert made == canonical(FORMAT, then, WINDOW)
    assert len(made) == len(first)
    assert file_names(made, tmp_path) == ["cc000000.o"]


def test_two_temporary_files_stay_two(tmp_path: Path) -> None:
    sources = [ASSEMBLY, ASSEMBLY.replace(" g", " h").replace("g:", "h:")]
    first, then = twice(lambda: partly_linked(tmp_path, *sources))
    made = canonical(FORMAT, first, WINDOW)
    assert made == canonical(FORMAT, then, WINDOW)
    assert file_names(made, tmp_path) == ["cc000000.o", "cc000001.o"]


@pytest.mark.parametrize(
    "target",
    ["x86_64-linux-gnu", "i386-linux-gnu", "powerpc-linux-gnu", "powerpc64-linux-gnu"],
    ids=["64 bits", "32 bits", "32 bits big-endian", "64 bits big-endian"],
)
def test_words_and_orders_of_bytes_of_all_kinds_are_read(tmp_path: Path, target: str) -> None:
    made = [
        canonical(FORMAT, assembled(tmp_path, f'.file "{name}"\nnop\n', target), WINDOW)
        for name in ("ccAbC1eF.s", "ccGh12Kl.s")
    ]
    assert made[0] == made[1]
    assert file_names(made[0], tmp_path) == ["cc000000.s"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ccQ3x9Zk.o", "cc000000.o"),
        ("ccQ3x9Zk.ltrans0.ltrans.o", "cc000000.ltrans0.ltrans.o"),
        ("/tmp/ccQ3x9Zk.s", "/tmp/cc000000.s"),
        ("part-a1b2c3.o", "part-000000.o"),
        ("/var/tmp/part-a1b2c3.s", "/var/tmp/part-000000.s"),
        (NVCC, "tmpxft_00000000_00000000-6_k.cudafe1.cpp"),
        ("ccQ3x9Zk.c", "ccQ3x9Zk.c"),  # GCC gives no source such a name
        ("ccQ3x9Zk", "ccQ3x9Zk"),
        ("ccQ3x9Zkm.o", "ccQ3x9Zkm.o"),
        ("part-a1b2c.o", "part-a1b2c.o"),
        ("/home/ccQ3x9Zk.s", "/home/ccQ3x9Zk.s"),
        ("main.c", "main.c"),
    ],
)
def test_names_of_known_temporary_files_alone_are_changed(
    tmp_path: Path, name: str, expected: str
) -> None:
    data = assembled(tmp_path, f'.file "{name}"\nnop\n')
    assert file_names(canonical(FORMAT, data, WINDOW), tmp_path) == [expected]


def test_the_program_is_the_same_before_and_after(tmp_path: Path) -> None:
    written(
        tmp_path / NVCC, '#include <cstdio>\nstatic int c = 6;\nint main() { printf("%d", c); }\n'
    )
    run("g++", "-O1", "-c", NVCC, "-o", "k.o", cwd=tmp_path)
    made = canonical(FORMAT, (tmp_path / "k.o").read_bytes(), WINDOW)
    assert NVCC.encode() not in made
    written(tmp_path / "canonical" / "k.o", made)
    for command in (("objdump", "-dr"), ("nm",), ("readelf", "-aW")):
        before = run(*command, "k.o", cwd=tmp_path)
        after = run(*command, "k.o", cwd=tmp_path / "canonical")
        assert before.replace(b"00000bc6", b"00000000") == after
    run("g++", "canonical/k.o", "-o", "linked", cwd=tmp_path)
    assert run(tmp_path / "linked", cwd=tmp_path) == b"6"


def test_a_name_in_whose_changed_part_another_begins_is_left(tmp_path: Path) -> None:
    # Assemblers keep one string for all that it ends in.
    written(tmp_path / "shared.s", '.file "ccAbC1eF.s"\n"bC1eF.s":\n\tnop\n')
    run("as", "shared.s", "-o", "shared.o", cwd=tmp_path)
    data = (tmp_path / "shared.o").read_bytes()
    assert data.count(b"bC1eF.s") == 1
    assert canonical(FORMAT, data, WINDOW) == data


def test_a_name_in_whose_lasting_part_another_begins_is_changed(tmp_path: Path) -> None:
    written(tmp_path / "shared.s", '.file "ccAbC1eF.s"\ns:\tnop\n')
    run("as", "shared.s", "-o", "shared.o", cwd=tmp_path)
    made = canonical(FORMAT, (tmp_path / "shared.o").read_bytes(), WINDOW)
    assert file_names(made, tmp_path) == ["cc000000.s"]
    assert b" s\n" in run("nm", "told.o", cwd=tmp_path)


def test_a_name_that_stands_in_an_input_is_left(tmp_path: Path) -> None:
    data = assembled(tmp_path, '.file "ccompile.s"\nnop\n')
    given = with_inputs(WINDOW, b"cc -c ccompile.s")
    assert canonical(FORMAT, data, given) == data
    assert canonical(FORMAT, data, WINDOW) != data


def test_a_constant_that_stands_in_an_input_is_not_given_to_another(tmp_path: Path) -> None:
    sources = ['.file "cc000001.s"\nnop\n', '.file "ccAbC1eF.s"\nnop\n']
    data = partly_linked(tmp_path, *sources)
    assert file_names(data, tmp_path) == ["cc000001.s", "ccAbC1eF.s"]
    with pytest.raises(Declined, match="came from an input"):
        FORMAT.edits(data, with_inputs(WINDOW, b"cc000001.s"))


def test_link_time_optimisation_and_compressed_sections_are_declined(tmp_path: Path) -> None:
    written(tmp_path / "a.c", "int main(void) { return 0; }\n")
    for options in (["-flto"], ["-g", "-gz=zlib"]):
        run("gcc", *options, "-c", "a.c", "-o", "a.o", cwd=tmp_path)
        with pytest.raises(Declined, match="section"):
            FORMAT.edits((tmp_path / "a.o").read_bytes(), WINDOW)


def test_what_is_followed_by_something_is_declined(tmp_path: Path) -> None:
    data = partly_linked(tmp_path, ASSEMBLY) + b"~Module signature appended~\n"
    with pytest.raises(Declined, match="signature"):
        FORMAT.edits(data, WINDOW)


def test_an_object_of_thousands_of_sections_is_read(tmp_path: Path) -> None:
    # Their number has no room in the file header.
    source = '.file "ccAbC1eF.s"\n' + "".join(f'.section .t{n},"ax"\nnop\n' for n in range(66_000))
    made = canonical(FORMAT, assembled(tmp_path, source), WINDOW)
    assert file_names(made, tmp_path) == ["cc000000.s"]


def test_no_edits_are_made_where_there_are_no_such_names(tmp_path: Path) -> None:
    data = assembled(tmp_path, '.file "main.c"\nnop\n')
    assert applied(data, FORMAT.edits(data, WINDOW)) == data
