"""Cases: small actions with real tools, each a folder that says what is to be seen.

A case holds `cmd.sh`, which is run as `sh cmd.sh` in the input root, its inputs, and `expect.json`.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

EXPECTED = "expect.json"
COMMAND = "cmd.sh"
GUARD = "guard"
CALM = frozenset({"control", GUARD})
"""Kinds that are the same without help. Of a guard, no format may change anything."""

SANDBOXED = ("herm", "hermenv")
"""Kinds of measured runs in which the sandbox alone, or with its variables, was at work."""

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|\$\([^)]*\)|[<>]&\d")
_PROGRAM = re.compile(r"(?:^|[;&|(){}\n]|\bdo\b)\s*(?:\w+=\S*\s+)*([\w./$+-]+)")
_SHELL = frozenset({"cd", "do", "done", "echo", "export", "fi", "for", "if", "mkdir", "printf",
                    "set", "sh", "then", "touch", "while"})  # fmt: skip


class Means(StrEnum):
    """What makes the results of a case one."""

    NOTHING = "nothing to do"
    PREVENTED = "prevented"
    REWRITTEN = "rewritten"
    PINNED = "pinned"


class Measured(msgspec.Struct, frozen=True):
    """What was seen when the case was made.

    distinct: by kind of run, `DIFFERENT/RUNS`. caused_by: in words, most likely first.
    """

    distinct: dict[str, str] = {}
    caused_by: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = (0,)
    differing_paths: tuple[str, ...] = ()


class Expected(msgspec.Struct, frozen=True, rename={"kind": "class"}):
    """The part of expect.json that counts here.

    min_gap_s: seconds between runs before a difference can be seen. workdir: `tmpfs` where the
    input root must lie on one.
    """

    kind: str
    outputs: tuple[str, ...]
    canonicalizable: bool = False
    workdir: str = ""
    min_gap_s: float = 0
    measured: Measured = Measured()

    @property
    def means(self) -> Means:
        """What can settle the case, the earliest line of defence first."""
        if self.kind in CALM:
            return Means.NOTHING
        if any(_one(self.measured.distinct.get(kind, "")) for kind in SANDBOXED):
            return Means.PREVENTED
        return Means.REWRITTEN if self.canonicalizable else Means.PINNED


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    folder: Path
    expected: Expected

    @property
    def command(self) -> str:
        """Its script, without the line that names the shell."""
        return "\n".join(
            line
            for line in (self.folder / COMMAND).read_text().splitlines()
            if not line.startswith("#!")
        ).strip()

    @property
    def tools(self) -> list[str]:
        """The programs that its script runs, as far as a glance tells."""
        found = _PROGRAM.findall(_QUOTED.sub("", self.command))
        names = [posixpath.basename(path) for path in found if not path.startswith(("./", "$("))]
        return list(dict.fromkeys(name for name in names if name not in _SHELL)) or ["sh"]


def load(folder: Path) -> list[Case]:
    """Return all cases below `folder`, by name.

    Raises ValueError, with the file, for an expect.json that says something else than is read here,
    and FileNotFoundError if there is no case.
    """
    found = sorted(folder.glob(f"*/{EXPECTED}"))
    if not found:
        raise FileNotFoundError(f"there is no case (a folder with {EXPECTED}) in {folder}")
    return [Case(file.parent.name, file.parent, _expected(file)) for file in found]


def _expected(file: Path) -> Expected:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Expected)
    except msgspec.DecodeError as error:
        raise ValueError(f"{file}: {error}") from None


def _one(distinct: str) -> bool:
    """Tell whether `DIFFERENT/RUNS` says that all runs were alike."""
    return distinct.startswith("1/")
