"""Two developers, each with a work space, an output base and a Bazel server of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bazel.driver import Bazel, running_bazel
from tests.bazel.stubs import write_stubs
from tests.bazel.workspace import write_workspace
from tests.serving import Served, serving


@pytest.fixture(scope="session")
def rc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bazelrc with which Bazel needs no network."""
    return write_stubs(tmp_path_factory.mktemp("stubs"))


def developer(folder: Path, rc: Path) -> Iterator[Bazel]:
    workspace = folder / "workspace"
    write_workspace(workspace)
    with running_bazel(workspace, folder / "output_base", rc=rc) as bazel:
        yield bazel


@pytest.fixture(scope="session")
def _first(tmp_path_factory: pytest.TempPathFactory, rc: Path) -> Iterator[Bazel]:
    yield from developer(tmp_path_factory.mktemp("first"), rc)


@pytest.fixture(scope="session")
def _second(tmp_path_factory: pytest.TempPathFactory, rc: Path) -> Iterator[Bazel]:
    yield from developer(tmp_path_factory.mktemp("second"), rc)


def emptied(bazel: Bazel, salt: str) -> Bazel:
    """Leave nothing built, and sources that no test before has had built."""
    bazel.clean()
    for folder in bazel.workspace.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
    write_workspace(bazel.workspace, salt=salt)
    return bazel


@pytest.fixture
def first(_first: Bazel, request: pytest.FixtureRequest) -> Bazel:
    """The first developer, who has built nothing."""
    return emptied(_first, request.node.name)


@pytest.fixture
def second(_second: Bazel, request: pytest.FixtureRequest) -> Bazel:
    """The second developer, who has the same sources and has built nothing."""
    return emptied(_second, request.node.name)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server that has stored nothing."""
    with serving(tmp_path / "served") as server:
        yield server
