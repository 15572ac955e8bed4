from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from determinism import debugedit
from determinism.formats import elf_image
from tests.determinism.made import WINDOW, canonical, run, written

ROOT = "/b/0123456789abcdef"
CODE = "int f(int x) { return x + 1; }\nint main(void) { return f(-1); }\n"


def built(root: Path, *command: str) -> Path:
    """Build `made` from a source that is named by its absolute path."""
    written(root / "src" / "main.c", CODE)
    run(*command, str(root / "src" / "main.c"), "-o", "made", cwd=root)
    return root / "made"


def edited(root: Path, folder: Path) -> bytes | None:
    copy = debugedit.rewritten(root / "made", str(root), ROOT, folder)
    return None if copy is None else copy.read_bytes()


@pytest.mark.parametrize(
    "options", [("-c",), ("-c", "-O2", "-gdwarf-4"), ("-c", "-m32", "-ffreestanding")], ids=" ".join
)
def test_objects_of_two_roots_become_the_same(tmp_path: Path, options: tuple[str, ...]) -> None:
    made = []
    for name in ("one", "two"):
        root = tmp_path / name
        before = built(root, "gcc", "-g", *options).read_bytes()
        after = edited(root, tmp_path)
        assert after
        assert after != before
        assert (root / "made").read_bytes() == before
        made.append(after)
    assert made[0] == made[1]
    assert ROOT.encode() in made[0]
    assert str(tmp_path).encode() not in made[0]


def test_images_of_two_roots_become_the_same_with_a_new_build_id(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        root = tmp_path / name
        built(root, "gcc", "-g", "-save-temps=obj")
        after = edited(root, tmp_path)
        assert after
        made.append(canonical(elf_image.FORMAT, after, replace(WINDOW, seen_root=str(root))))
    assert made[0] == made[1]
    image = written(tmp_path / "image", made[0], 0o755)
    assert run(image, cwd=tmp_path) == b""
    told = run("readelf", "--debug-dump=info", image, cwd=tmp_path)
    assert f"{ROOT}/src/main.c".encode() in told


def test_debug_information_that_debugedit_does_not_know_is_left(tmp_path: Path) -> None:
    built(tmp_path, "clang", "-g", "-gdwarf-5", "-c")
    assert edited(tmp_path, tmp_path) is None
    assert {path.name for path in tmp_path.iterdir()} == {"src", "made"}


@pytest.mark.parametrize(
    "options", [("-g0",), ("-g", "-gz=zlib"), ("-g", "-ffile-prefix-map=/=/x/")], ids=" ".join
)
def test_files_without_the_root_in_plain_debug_sections_are_left(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    root = tmp_path / "root"
    built(root, "gcc", *options, "-c")
    assert debugedit.rewritten(root / "made", str(root / "elsewhere"), ROOT, tmp_path) is None
    if "-ffile-prefix-map=/=/x/" not in options:
        assert edited(root, tmp_path) is None


@pytest.mark.parametrize("data", [b"", b"text", b"\x7fELF" + bytes(100)])
def test_other_files_are_left(tmp_path: Path, data: bytes) -> None:
    written(tmp_path / "made", data)
    assert edited(tmp_path, tmp_path) is None


def test_a_result_that_changes_more_than_debug_information_is_not_taken(tmp_path: Path) -> None:
    path = built(tmp_path, "gcc", "-g", "-c")
    data = path.read_bytes()
    code = data.index(b"\x55\x48\x89\xe5")
    other = written(tmp_path / "other", data[:code] + b"\x90" + data[code + 1 :])
    same = written(tmp_path / "same", data)
    assert debugedit._proven(path, same, b"/nowhere")
    assert not debugedit._proven(path, other, b"/nowhere")
    assert not debugedit._proven(path, same, str(tmp_path).encode())
    assert not debugedit._proven(path, written(tmp_path / "cut", data[:-100]), b"/nowhere")
    assert not debugedit._proven(path, written(tmp_path / "empty", b""), b"/nowhere")
