"""A case run as a plain process, and what it made."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lab.cases import COMMAND, EXPECTED, Case
from lab.tools import environment, search_path

TIMEOUT_SECONDS = 300
MEMORY = Path("/dev/shm")  # noqa: S108  a new folder below it is this user's alone
"""A file system that lists a folder in the order in which it was filled."""

Made = dict[str, str]
"""By path, what is there: a digest, and whether it is executable, or where a symlink leads."""


@dataclass(frozen=True, slots=True)
class Plain:
    """One plain run. said: what it wrote to stderr."""

    made: Made
    exit_code: int
    said: str


def run(case: Case, folder: Path) -> Plain:
    """Run `case` in a new folder at a path that no other run has.

    folder: where that is, if the case does not ask for a file system that lists as it is told.
    """
    parent = MEMORY if case.expected.workdir == "tmpfs" else folder
    root = Path(tempfile.mkdtemp(prefix="plain-", dir=parent))
    _copy(case.folder, root)
    done = subprocess.run(
        ["/bin/sh", COMMAND],
        cwd=root,
        env={"PATH": search_path(), "TZ": "UTC", **environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    plain = Plain(made(root, case.expected.outputs), done.returncode, done.stderr)
    shutil.rmtree(root)
    return plain


def _copy(inputs: Path, root: Path) -> None:
    """Copy a case's inputs as a checkout does: as old as it is, and created in any order."""
    found = [path for path in sorted(inputs.rglob("*")) if path.name != EXPECTED]
    random.shuffle(found)
    for path in found:
        to = root / path.relative_to(inputs)
        if path.is_dir() and not path.is_symlink():
            to.mkdir(parents=True, exist_ok=True)
        else:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to, follow_symlinks=False)


def made(root: Path, outputs: tuple[str, ...]) -> Made:
    """Return all that is at `outputs` below `root`, each file of a folder by itself."""
    found: Made = {}
    for output in outputs:
        for path in (root / output, *sorted((root / output).rglob("*"))):
            name = str(path.relative_to(root))
            if path.is_symlink():
                found[name] = f"symlink to {path.readlink()}"
            elif path.is_file():
                executable = " executable" if os.access(path, os.X_OK) else ""
                found[name] = sha256(path.read_bytes()).hexdigest() + executable
            elif path.is_dir():
                found[name] = "folder"
    return found
