from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from determinism.format import Conditions, Declined
from determinism.formats import depfile, linker_map, preprocessed
from determinism.formats.json import FORMAT as JSON
from tests.determinism.made import WINDOW, canonical, run, twice, with_inputs, written

MAP, DEPFILE, TEXT = linker_map.FORMAT, depfile.FORMAT, preprocessed.FORMAT
CODE = "#include <stdio.h>\nint main(void) { puts(__FILE__); return 0; }\n"


def sources(folder: Path) -> Path:
    written(folder / "main.c", CODE)
    written(folder / "part.c", "int part(void) { return 1; }\n")
    return folder


def seen(root: Path | str) -> Conditions:
    return replace(WINDOW, seen_root=str(root))


@pytest.mark.parametrize(
    "command",
    [
        ("gcc",),
        ("gcc", "-flto"),
        ("gcc", "-fuse-ld=gold", "-Wl,--print-gc-sections"),
        ("clang",),
        ("clang", "-fuse-ld=lld"),
        ("clang", "-fuse-ld=lld", "-shared", "-fPIC"),
    ],
    ids=" ".join,
)
def test_maps_of_two_links_become_the_same(tmp_path: Path, command: tuple[str, ...]) -> None:
    sources(tmp_path)

    def link() -> bytes:
        run(*command, "main.c", "part.c", "-o", "made", "-Wl,-Map=made.map", cwd=tmp_path)
        return (tmp_path / "made.map").read_bytes()

    first, then = twice(link)
    made = canonical(MAP, first, WINDOW, "made.map")
    assert made == canonical(MAP, then, WINDOW, "made.map")
    assert len(made) == len(first)


def test_two_objects_of_a_map_stay_two(tmp_path: Path) -> None:
    sources(tmp_path)
    run("gcc", "main.c", "part.c", "-o", "made", "-Wl,-Map=made.map", cwd=tmp_path)
    made = canonical(MAP, (tmp_path / "made.map").read_bytes(), WINDOW)
    assert b"/tmp/cc000000.o" in made
    assert b"/tmp/cc000001.o" in made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/tmp/ccAbC1eF.o", "/tmp/cc000000.o"),
        ("/var/tmp/ccAbC1eF.ltrans0.ltrans.o", "/var/tmp/cc000000.ltrans0.ltrans.o"),
        ("/tmp/main-a1b2c3.o", "/tmp/main-000000.o"),
        ("/tmp/tmpxft_00000bc6_00000000-11_k.o", "/tmp/tmpxft_00000000_00000000-11_k.o"),
        ("/tmp/rustcAb1xYz/symbols.o", "/tmp/rustc000000/symbols.o"),
        ("/tmp/go-link-1234567890/go.o", "/tmp/go-link-0/go.o"),
        ("/tmp/go-build98/b001/x.o", "/tmp/go-build0/b001/x.o"),
        ("/tmp/tmp.AbCdEf1234/x.o", "/tmp/tmp.0000000000/x.o"),
        ("/tmp/tmpab_c12x9/x.o", "/tmp/tmp00000000/x.o"),
        ("/tmp/main.o", "/tmp/main.o"),
        ("/tmp/main-a1b2c3d.o", "/tmp/main-a1b2c3d.o"),
        ("/tmp/cc.o", "/tmp/cc.o"),
        ("build/ccAbC1eF.o", "build/ccAbC1eF.o"),
    ],
)
def test_known_temporary_names_alone_are_changed(name: str, expected: str) -> None:
    text = "Memory Configuration\n\nLOAD {}\n .text 0x0 0x1 {}\n"
    made = canonical(MAP, text.format(name, name).encode(), WINDOW)
    assert made == text.format(expected, expected).encode()


def test_names_of_the_inputs_stay_and_are_not_given_to_others() -> None:
    text = b"Memory Configuration\n\nLOAD /tmp/cc%b.o\nLOAD /tmp/cc%b.o\n"
    given = with_inputs(WINDOW, b"LOAD /tmp/ccAbC1eF.o")
    made = canonical(MAP, text % (b"AbC1eF", b"Xy1234"), given)
    assert made == text % (b"AbC1eF", b"000001")
    with pytest.raises(Declined, match="came from an input"):
        MAP.edits(text % (b"Xy1234", b"000000"), with_inputs(WINDOW, b"LOAD /tmp/cc000000.o"))


def test_the_root_of_an_action_without_a_sandbox_becomes_that_in_a_sandbox(tmp_path: Path) -> None:
    made = []
    for name in ("first", "a-longer-one"):
        root = sources(tmp_path / name)
        run("gcc", "-c", "main.c", cwd=root)
        run("gcc", str(root / "main.o"), "-o", "made", f"-Wl,-Map={root}/made.map", cwd=root)
        made.append(canonical(MAP, (root / "made.map").read_bytes(), seen(root)))
    assert made[0] == made[1]
    assert b"LOAD /b/0123456789abcdef/main.o\n" in made[0]


def test_preprocessed_sources_of_two_roots_become_the_same(tmp_path: Path) -> None:
    made = []
    for name in ("first", "a-longer-one"):
        root = sources(tmp_path / name)
        run("gcc", "-E", str(root / "main.c"), "-o", "main.i", cwd=root)
        made.append(canonical(TEXT, (root / "main.i").read_bytes(), seen(root)))
    assert made[0] == made[1]
    written(tmp_path / "canonical.i", made[0])
    run("gcc", "canonical.i", "-o", "made", cwd=tmp_path)
    assert run(tmp_path / "made", cwd=tmp_path) == b"/b/0123456789abcdef/main.c\n"


def test_dependencies_of_two_roots_become_the_same(tmp_path: Path) -> None:
    made = []
    for name in ("first", "second"):
        root = sources(tmp_path / name)
        run("gcc", "-MD", "-c", str(root / "main.c"), "-o", str(root / "main.o"), cwd=root)
        made.append(canonical(DEPFILE, (root / "main.d").read_bytes(), seen(root), "main.d"))
    assert made[0] == made[1]
    assert b"first" not in made[0]
    written(tmp_path / "Makefile", b"all: ; @echo read\n-include made.d\n")
    written(
        tmp_path / "made.d",
        made[0].replace(b"/b/0123456789abcdef", str(tmp_path / "first").encode()),
    )
    assert run("make", "--no-print-directory", cwd=tmp_path) == b"read\n"


def test_dependencies_of_the_assembler_become_the_same(tmp_path: Path) -> None:
    sources(tmp_path)

    def assemble() -> bytes:
        run("gcc", "-c", "part.c", "-Wa,--MD,part.d", cwd=tmp_path)
        return (tmp_path / "part.d").read_bytes()

    first, then = twice(assemble)
    assert canonical(DEPFILE, first, WINDOW, "part.d") == canonical(DEPFILE, then, WINDOW, "part.d")


def test_files_that_are_no_dependencies_are_left(tmp_path: Path) -> None:
    assert not DEPFILE.matches(b"a.o: /tmp/ccAbC1eF.s\n", b"", "notes.txt")
    assert not DEPFILE.matches(b"int x = 1;\n", b"", "x.d")
    for text in (b"a.o: /tmp/ccAbC1eF.s\n\tcc -c $<\n", b"a.o: /tmp/ccAbC1eF.s\nCC = cc\n"):
        with pytest.raises(Declined, match="rules"):
            DEPFILE.edits(text, WINDOW)


def test_texts_that_do_not_begin_with_a_line_marker_are_not_preprocessed() -> None:
    for text in (b"# 1 broken\n", b'#include "a"\n', b'# 1 "a\n', b"# A title\n"):
        assert not TEXT.matches(text, text, "main.i")


def test_json_of_two_roots_becomes_the_same() -> None:
    made = []
    for root in ("/srv/one/w1", "/srv/one/another"):
        data = [{"directory": root, "arguments": ["cc", f"-I{root}/include", "x\t\u00e9"]}]
        made.append(canonical(JSON, json.dumps(data, ensure_ascii=False).encode(), seen(root)))
    assert made[0] == made[1]
    assert json.loads(made[0])[0]["arguments"][1] == "-I/b/0123456789abcdef/include"


@pytest.mark.parametrize(
    "text",
    ['"/srv/w10/x"', '"/srv/w1.old"', '"/srv/w1-x"', '"srv/w1"'],
)
def test_paths_that_only_begin_like_the_root_stay(text: str) -> None:
    data = f"[{text}]".encode()
    assert canonical(JSON, data, seen("/srv/w1")) == data


def test_lines_of_json_are_json() -> None:
    data = b'{"a": "/srv/w1"}\n{"b": "/srv/w1/x"}\n'
    made = canonical(JSON, data, seen("/srv/w1"))
    assert made == data.replace(b"/srv/w1", b"/b/0123456789abcdef")


def test_in_a_sandbox_json_stays() -> None:
    assert list(JSON.edits(b'["/b/0123456789abcdef/x", "/tmp/ccAbC1eF.o"]', WINDOW)) == []


@pytest.mark.parametrize(
    ("data", "conditions", "why"),
    [
        (b'["/srv/w1", }', seen("/srv/w1"), "no JSON"),
        (b'["/srv/w1"] \0', seen("/srv/w1"), "NUL"),
        (b'["/srv/w1"]', with_inputs(seen("/srv/w1"), b"root=/srv/w1"), "input"),
        (b'["/srv/w 1"]', seen("/srv/w 1"), "characters"),
    ],
)
def test_what_may_be_something_else_is_declined(
    data: bytes, conditions: Conditions, why: str
) -> None:
    with pytest.raises(Declined, match=why):
        JSON.edits(data, conditions)


def test_texts_over_the_bound_are_declined() -> None:
    with pytest.raises(Declined, match="MiB"):
        MAP.edits(b"Memory Configuration\n" + b" " * (64 << 20), WINDOW)


def test_a_root_that_is_a_temporary_folder_itself_is_replaced_as_a_whole() -> None:
    text = b"Memory Configuration\n\nLOAD /tmp/tmpab_c12x9/w/a.o\nLOAD /tmp/ccAbC1eF.o\n"
    made = canonical(MAP, text, seen("/tmp/tmpab_c12x9/w"))
    assert made == b"Memory Configuration\n\nLOAD /b/0123456789abcdef/a.o\nLOAD /tmp/cc000000.o\n"
