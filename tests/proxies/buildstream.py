"""BuildStream as a user runs it, with caches of its own and a server of ours behind them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import bst_program
from tests.assets.archives import Entry, tar_of

COMMAND_SECONDS = 120

PROJECT = """\
name: sample
min-version: 2.8
element-path: elements
"""

IMPORTED = """\
kind: import
sources:
- kind: local
  path: files
"""

UNPACKED = """\
kind: import
sources:
- kind: tar
  url: file://{archive}
  ref: {sha256}
config:
  target: /unpacked
"""

COMPOSED = """\
kind: compose
build-depends: [imported.bst, unpacked.bst]
"""

# What is known of artifacts and sources is in one place each, or apart from their files.
USER = """\
cachedir: {folder}/cache
sourcedir: {folder}/sources
logdir: {folder}/logs
cache:
  reserved-disk-space: 0
artifacts:
  override-project-caches: true
  servers:
  - url: http://{server}
    type: all
    push: true
source-caches:
  override-project-caches: true
  servers:
  - url: http://{server}
    type: index
    push: true
  - url: http://{server}
    type: storage
    push: true
"""


@dataclass(frozen=True)
class Project:
    """Elements that need no commands: files, an archive, and `whole.bst`, which has both.

    archive: what `unpacked.bst` is made from.
    """

    folder: Path
    archive: Path


@dataclass(frozen=True)
class Developer:
    """Who has a project and caches of its own."""

    project: Project
    folder: Path

    def bst(self, *arguments: str | Path) -> str:
        """Run bst; return what it says. Raises AssertionError with that if it fails."""
        config = self.folder / "user.conf"
        ended = subprocess.run(
            [bst_program(), "--config", config, "--no-interactive", "--no-colors", *arguments],
            cwd=self.project.folder,
            env={**os.environ, "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout


def a_project(folder: Path, salt: bytes) -> Project:
    """Write a project. salt: goes into every element, so that each of them is new."""
    files, elements = folder / "files", folder / "elements"
    for each in (files / "bin", files / "empty", elements):
        each.mkdir(parents=True)
    (files / "bin" / "tool").write_bytes(salt)
    (files / "bin" / "tool").chmod(0o755)
    (files / "bin" / "link").symlink_to("tool")
    data = tar_of([Entry("thing/inner", salt)])
    archive = folder / "thing.tar"
    archive.write_bytes(data)
    unpacked = UNPACKED.format(archive=archive, sha256=hashlib.sha256(data).hexdigest())
    (folder / "project.conf").write_text(PROJECT)
    (elements / "imported.bst").write_text(IMPORTED)
    (elements / "unpacked.bst").write_text(unpacked)
    (elements / "whole.bst").write_text(COMPOSED)
    return Project(folder, archive)


def developer(project: Project, folder: Path, server: str) -> Developer:
    """Return a developer with empty caches in `folder`, in front of `server`, HOST:PORT."""
    folder.mkdir()
    (folder / "user.conf").write_text(USER.format(folder=folder, server=server))
    return Developer(project, folder)
