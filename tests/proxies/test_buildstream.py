"""BuildStream, with our server as its cache of artifacts and sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.protocol.blobs import unique
from tests.proxies.buildstream import Project, a_project, developer
from tests.serving import Served


@pytest.fixture(scope="module")
def salt() -> bytes:
    return unique(200_000)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, behind: Served, salt: bytes) -> Project:
    """A project that a developer has built and pushed, and whose archive is gone since then."""
    folder = tmp_path_factory.mktemp("pushed")
    project = a_project(folder / "project", salt)
    built = developer(project, folder / "one", behind.grpc).bst("build", "whole.bst")
    assert "Pushed artifact" in built
    assert "Pushed source" in built
    project.archive.unlink()
    return project


def test_an_artifact_that_was_pushed_is_checked_out_elsewhere(
    tmp_path: Path, behind: Served, pushed: Project, salt: bytes
) -> None:
    other, out = developer(pushed, tmp_path / "two", behind.grpc), tmp_path / "out"
    pulled = other.bst("artifact", "pull", "--deps", "all", "whole.bst")
    assert "processed 3, skipped 0, failed 0" in pulled
    other.bst("artifact", "checkout", "whole.bst", "--directory", out)
    tool = out / "bin" / "tool"
    assert tool.read_bytes() == (out / "unpacked" / "inner").read_bytes() == salt
    assert os.access(tool, os.X_OK)
    assert (out / "bin" / "link").readlink() == Path("tool")
    assert list((out / "empty").iterdir()) == []


def test_a_source_whose_origin_is_gone_comes_from_the_cache(
    tmp_path: Path, behind: Served, pushed: Project, salt: bytes
) -> None:
    other, out = developer(pushed, tmp_path / "two", behind.grpc), tmp_path / "out"
    other.bst("source", "checkout", "unpacked.bst", "--directory", out)
    assert (out / "unpacked" / "inner").read_bytes() == salt
