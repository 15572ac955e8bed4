"""The tools that cases run, and where they are."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from re_config.schema import Bubblewrap, Worker

INSTALLED = Path(__file__).resolve().parent.parent / ".lab"
"""Where scripts/setup puts what Debian does not have."""

CUDA = INSTALLED / "cuda"
VENV = INSTALLED / "venv"


class NotInstalled(RuntimeError):
    """A tool is not there."""


@cache
def sysroot() -> Path:
    """Return the folder of the Rust compiler that is on PATH; raise NotInstalled.

    What is on PATH can be a program that chooses one of several in somebody's home folder.
    """
    if shutil.which("rustc") is None:
        raise NotInstalled("there is no rustc on PATH: run `make setup`")
    printed = subprocess.run(
        ["rustc", "--print", "sysroot"],  # noqa: S607  whichever PATH names
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return Path(printed.strip())


def folders() -> Iterator[Path]:
    """Yield the folders that actions must see, beside those of Debian; raise NotInstalled."""
    for folder in (CUDA, VENV):
        if not folder.is_dir():
            raise NotInstalled(f"{folder} is not there: run `make setup`")
    yield from (CUDA, VENV, sysroot())


def visible() -> list[str]:
    """Return all paths of the host that actions may see, as `worker.sandbox.read_only` has them."""
    known = Bubblewrap().read_only
    more = [str(folder) for folder in folders() if not _below(folder, known)]
    return [*known, *more]


def search_path() -> str:
    """Return the PATH of actions, as `worker.env_path` has it."""
    return ":".join([str(CUDA / "bin"), str(sysroot() / "bin"), Worker().env_path])


def environment() -> dict[str, str]:
    """Return the variables of every case's Command."""
    return {"VENV": str(VENV)}


def settings() -> str:
    """Return a worker's settings with which its actions find these tools, as dotted keys."""
    return (
        f"worker.env_path = {json.dumps(search_path())}\n"
        'worker.sandbox.kind = "bubblewrap"\n'
        f"worker.sandbox.read_only = {json.dumps(visible())}\n"
    )


def _below(folder: Path, others: tuple[str, ...]) -> bool:
    return any(folder.is_relative_to(other) for other in others)
