"""Revisions of a real git repository, over real transports."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from google.rpc.code_pb2 import Code

from tests.assets.asking import Assets
from tests.assets.conftest import Site
from tests.assets.test_fetch_blob import failed
from tests.assets.test_fetch_directory import got
from tests.protocol.peer import refused

FIRST = {
    ".gitattributes": "docs/ignored export-ignore export-subst\n",
    "run.sh": "#!/bin/sh\n*",
    "docs/page": "one",
    "docs/ignored": "$Format:%H$",
    "link": "-> docs/page",
}
SECOND = FIRST | {"docs/page": "two", "sub": "/"}
SIDE = FIRST | {"side": "side"}


class Repository:
    """A bare clone with a tagged commit, one on main with a submodule, and one on a branch."""

    def __init__(self, folder: Path) -> None:
        self._work = folder.with_suffix(".work")
        self._work.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        (self._work / "docs").mkdir()
        for name, text in FIRST.items():
            if not text.startswith("->"):
                (self._work / name).write_text(text.removesuffix("*"))
        (self._work / "run.sh").chmod(0o755)
        (self._work / "link").symlink_to("docs/page")
        self.first = self.commit("first")
        self.git("tag", "v1")
        (self._work / "docs" / "page").write_text("two")
        self.git("update-index", "--add", "--cacheinfo", f"160000,{self.first},sub")
        self.second = self.commit("second")
        self.git("checkout", "--quiet", "-b", "side", "v1")
        (self._work / "side").write_text("side")
        self.side = self.commit("side")
        self.git("checkout", "--quiet", "main")
        self.git("clone", "--quiet", "--bare", ".", str(folder))
        self.git("--git-dir", str(folder), "update-server-info")

    def git(self, *arguments: str) -> str:
        named = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *named, *arguments],
            cwd=self._work,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--", *(path.name for path in self._work.iterdir() if path.name != ".git"))
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture(scope="session")
def repository(site: Site) -> Repository:
    made = Repository(site.files / "project.git")
    shutil.copytree(site.files / "project.git", site.origin.folder / "project.git")
    return made


@pytest.fixture(params=["file", "http"])
def uri(request: pytest.FixtureRequest, site: Site, repository: Repository) -> str:
    """Over git's own protocol, and as files that a web server knows nothing of."""
    return {
        "file": f"file://{site.files}/project.git",
        "http": site.origin.uri("files/project.git"),
    }[request.param]


def test_revisions_are_had_by_commit_branch_and_tag(
    uri: str, repository: Repository, assets: Assets
) -> None:
    for qualifiers, files, commit in (
        ({}, SECOND, repository.second),
        ({"vcs.branch": "side"}, SIDE, repository.side),
        ({"vcs.commit": repository.first}, FIRST, repository.first),
        ({"vcs.commit": "v1", "resource_type": "application/x-git"}, FIRST, repository.first),
        ({"vcs.commit": repository.first, "vcs.branch": "side"}, FIRST, repository.first),
        ({"vcs.commit": repository.first[:10]}, FIRST, repository.first),
    ):
        for _ in range(2):
            response = assets.directory(uri, having=qualifiers)
            assert got(assets, response) == files, qualifiers
            assert [(each.name, each.value) for each in response.qualifiers] == [
                ("vcs.commit", commit)
            ]


def test_a_directory_of_a_revision_is_a_tree_of_its_own(
    uri: str, repository: Repository, assets: Assets
) -> None:
    response = assets.directory(uri, having={"directory": "docs", "vcs.commit": repository.first})
    assert got(assets, response) == {"page": "one", "ignored": "$Format:%H$"}
    failed(assets.directory(uri, having={"directory": "none"}), Code.NOT_FOUND)


def test_what_a_repository_does_not_have_is_not_found(
    uri: str, repository: Repository, assets: Assets
) -> None:
    failed(assets.directory(uri, having={"vcs.branch": "none"}), Code.NOT_FOUND)
    failed(assets.directory(uri, having={"vcs.commit": "f" * 40}), Code.NOT_FOUND)
    elsewhere = {"vcs.commit": repository.second, "vcs.branch": "side"}
    failed(assets.directory(uri, having=elsewhere), Code.NOT_FOUND)
    failed(assets.directory(uri.replace("project", "absent")), Code.NOT_FOUND)


def test_names_that_git_takes_for_something_else_are_refused(site: Site, assets: Assets) -> None:
    uri = f"file://{site.files}/project.git"
    for name in ("--upload-pack=touch /tmp/owned", "a..b", "a b", "-x"):
        for qualifier in ("vcs.commit", "vcs.branch"):
            with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="vcs"):
                assets.directory(uri, having={qualifier: name})


def test_other_transports_and_origins_are_refused(site: Site, assets: Assets) -> None:
    failed(
        assets.directory("ext::sh -c true", having={"resource_type": "application/x-git"}),
        Code.NOT_FOUND,
    )
    failed(assets.directory("ssh://127.0.0.1/project.git"), Code.NOT_FOUND)
    failed(assets.directory("file:///etc/project.git"), Code.PERMISSION_DENIED)
    port = site.origin.address.rpartition(":")[2]
    inside = assets.directory(f"http://localhost:{port}/files/project.git")
    assert "allow_private" in failed(inside, Code.PERMISSION_DENIED)


def test_a_repository_behind_a_symlink_that_leads_out_is_refused(
    site: Site, repository: Repository, assets: Assets
) -> None:
    (site.files / "leads.git").symlink_to(site.origin.folder)
    failed(assets.directory(f"file://{site.files}/leads.git"), Code.PERMISSION_DENIED)


def test_credentials_reach_the_server(site: Site, uri: str, assets: Assets) -> None:
    if uri.startswith("http"):
        header = {"http_header:Authorization": "Bearer of git"}
        got(assets, assets.directory(uri, having=header | {"vcs.branch": "main"}))
        asked = site.origin.headers["files/project.git/info/refs"]
        assert asked["authorization"] == "Bearer of git"
