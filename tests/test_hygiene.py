"""What holds for every file of the repository, and no linter looks at."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULE_LINES = 400
FUNCTION_LINES = 60
BROAD_EXCEPTS = 6
"""At the edges, where whatever was raised is told to who waits: to a gRPC caller (once for replies,
once for streams), for a commit to the index, for an execution, for a lease, for a conformance
check."""

STANDING_IN = {
    "AsyncMock",
    "MagicMock",
    "Mock",
    "MonkeyPatch",
    "create_autospec",
    "importorskip",
    "mock",
    "monkeypatch",
    "skip",
    "skipif",
    "xfail",
}
"""Names of what replaces a real part in a test, or leaves a test out."""

REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted|npmjs|crates\.io|golang\.org/|proxy\.golang|rubygems|maven|docker\.io|ghcr\.io"
)
"""Hosts of package registries: where packages come from is for a machine's own settings to say."""

OWN_MACHINE = re.compile(r"(?<![\w.}*])/(?:work|Users|home/\w+|root)/\w")
"""Absolute paths that are on the machine of one developer."""

NOTES = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
MAKE_IN_TEXT = re.compile(r"^\s*(?:\$ )?make ([a-z][\w-]*)|`make ([a-z][\w-]*)", re.MULTILINE)


@cache
def files() -> tuple[Path, ...]:
    """Return what is in the repository or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def modules() -> list[Path]:
    """Return the Python modules that someone wrote."""
    return [path for path in files() if path.suffix == ".py" and "_pb2" not in path.name]


def product() -> list[Path]:
    aside = {"tests", "benchmarks", "fuzz", "lab", "scripts"}
    return [path for path in modules() if path.relative_to(ROOT).parts[0] not in aside]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def found(path: Path, pattern: re.Pattern[str]) -> Iterator[str]:
    """Yield the lines of a text file in which `pattern` is found, each with its place."""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if pattern.search(line):
            yield f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


@pytest.mark.parametrize(
    "pattern", [REGISTRIES, OWN_MACHINE, NOTES], ids=["hosts", "paths", "notes"]
)
def test_no_file_names_a_registry_or_somebodys_machine_or_what_is_left_to_do(
    pattern: re.Pattern[str],
) -> None:
    here = Path(__file__).resolve()
    assert [line for path in files() if path != here for line in found(path, pattern)] == []


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in modules()}
    assert [str(path) for path, length in lengths.items() if length > MODULE_LINES] == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES
    ]
    assert long == []


def test_no_test_stands_in_for_a_real_part_or_is_left_out() -> None:
    used = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules()
        if path.is_relative_to(ROOT / "tests")
        for name in names_in(parsed(path))
        if name in STANDING_IN
    ]
    assert used == []


def names_in(module: ast.Module) -> Iterator[str]:
    """Yield every name that is used, imported, or taken as a parameter."""
    for node in ast.walk(module):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.Import(names=imported) | ast.ImportFrom(names=imported):
                for alias in imported:
                    yield from alias.name.split(".")
            case _:
                pass


def test_errors_are_caught_by_name_but_at_the_edges() -> None:
    broad = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in product()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and ast.unparse(node.body[-1]) != "raise"
    ]
    assert len(broad) <= BROAD_EXCEPTS, broad


def test_the_readme_names_only_commands_that_make_knows() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in files():
        if path.suffix == ".md":
            named = {one or other for one, other in MAKE_IN_TEXT.findall(path.read_text())}
            assert named <= targets, path
    readme = (ROOT / "README.md").read_text()
    assert {one or other for one, other in MAKE_IN_TEXT.findall(readme)} >= {"demo", "test"}


def test_every_command_that_an_error_recommends_is_one_that_make_knows() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in modules():
        assert set(re.findall(r"`make ([a-z][\w-]*)`", path.read_text())) <= targets, path


def test_no_page_links_to_a_file_that_is_not_there() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in files()
        if path.suffix == ".md"
        for target in LINK.findall(path.read_text())
        if not (path.parent / target).exists()
    ]
    assert broken == []
