"""Which program a command runs, and what it says of its version."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import posixpath
import re
import shlex
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.command import Loaded
from worker.folders import Folders
from worker.sandbox import Sandbox, SandboxUnavailable, try_out

SHELLS = frozenset({"sh", "bash", "dash", "ksh", "zsh"})
MAX_SCRIPT_CHARACTERS = 64 * 1024
MAX_NESTED = 8  # of env and shells in one another
VERSION_SECONDS = 10
VERSION_CHARACTERS = 200
KEPT_VERSIONS = 256
# Programs whose version is asked for, and how: what these do with that is known. Globs, in order.
ASKED = (
    ("javac", "-version"),
    ("java", "-version"),
    ("go", "version"),
    *(
        (name, "--version")
        for name in (
            *("cc", "c++", "gcc", "g++", "gcc-[0-9]*", "g++-[0-9]*", "*-gcc", "*-g++"),
            *("*-gcc-[0-9]*", "*-g++-[0-9]*", "clang", "clang++", "clang-[0-9]*"),
            *("clang++-[0-9]*", "ld", "ld.*", "lld", "mold", "ar", "as", "objcopy", "strip"),
            *("llvm-*", "rustc", "nvcc", "python3", "python3.[0-9]*", "node", "zip", "tar"),
            *("cpio", "gzip", "make", "cmake", "ninja", "cython", "protoc", "xgettext", "gs"),
        )
    ),
)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_SEPARATOR = re.compile(r"[;&|\n]+")
_DUPLICATED = re.compile(r"[0-9]*[<>]&[0-9-]+|&>")  # a redirection, whose & separates nothing
# Commands of a shell that only prepare the one that matters.
_PREPARING = frozenset(
    {"cd", "export", "set", "source", ".", "mkdir", "umask", "unset", "trap", "true", ":"}
)
# Words after which nothing is simple any more.
_COMPOUND = frozenset({"if", "for", "while", "until", "case", "{", "(", "!", "function", "[["})
_ENV_WITH_VALUE = frozenset({"-u", "--unset", "-C", "--chdir"})


def program_of(arguments: Sequence[str]) -> str:
    """Return the name of the program that `arguments` run, without its folder.

    It is seen through `env` and through a shell's -c where only one command there matters; else
    the shell is the program.
    """
    return posixpath.basename(word_of(arguments))


def word_of(arguments: Sequence[str], *, depth: int = 0) -> str:
    """Return the program as it is written where it is run, with its folder if that is there."""
    word = arguments[0] if arguments else ""
    name = posixpath.basename(word)
    inner: Sequence[str] = ()
    if depth < MAX_NESTED and name == "env":
        inner = _behind_env(arguments[1:])
    elif depth < MAX_NESTED and name in SHELLS:
        inner = _in_script(_script_of(arguments[1:]))
    return word_of(inner, depth=depth + 1) if inner else word


def _behind_env(arguments: Sequence[str]) -> Sequence[str]:
    """Source: env(1)."""
    skipped = 0
    while skipped < len(arguments):
        word = arguments[skipped]
        if word in _ENV_WITH_VALUE:
            skipped += 2
        elif word.startswith("-") or "=" in word:
            if word.startswith(("-S", "--split-string")):
                return ()
            skipped += 1
        else:
            break
    return arguments[skipped:]


def _script_of(arguments: Sequence[str]) -> str:
    """Return what stands behind -c, also in words like -ec; "" for a script in a file."""
    for index, word in enumerate(arguments):
        if not word.startswith(("-", "+")):
            return ""
        if not word.startswith("--") and "c" in word and index + 1 < len(arguments):
            return arguments[index + 1]
    return ""


def _in_script(script: str) -> Sequence[str]:
    """Return the one command of `script` that matters, empty if it is not one and plain."""
    if len(script) > MAX_SCRIPT_CHARACTERS:
        return ()
    try:
        script = _DUPLICATED.sub(" ", script.replace("\\\n", " "))
        lexer = shlex.shlex(script, posix=True, punctuation_chars=";&|\n")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
        words = list(lexer)
    except ValueError:  # quotes without an end
        return ()
    found: list[list[str]] = [[]]
    for word in words:
        if _SEPARATOR.fullmatch(word):
            found.append([])
        elif found[-1] or not (_ASSIGNMENT.match(word) or word == "exec"):
            found[-1].append(word)
    mattering = [command for command in found if command and command[0] not in _PREPARING]
    plain = len(mattering) == 1 and mattering[0][0] not in _COMPOUND
    return mattering[0] if plain and "$" not in mattering[0][0] else ()


class _Tool(NamedTuple):
    """A program of the host; what it says of its version stays true while this does."""

    path: str
    option: str
    bytes: int
    modified_ns: int


@dataclass
class Versions:
    """Asks programs of the host for their version, each once, in the sandbox."""

    sandbox: Sandbox
    folders: Folders
    visible: Sequence[str]
    _known: OrderedDict[_Tool, str] = field(default_factory=OrderedDict)
    _asking: dict[_Tool, asyncio.Lock] = field(default_factory=dict)

    async def of(self, loaded: Loaded, default_path: str) -> str:
        """Return the first line that the action's program says of its version.

        "" where it is none that is asked, not one of the host's, or does not say.
        """
        given = loaded.environment(default_path)
        tool = self._tool(word_of(loaded.command.arguments), given["PATH"])
        if tool is None:
            return ""
        async with self._asking.setdefault(tool, asyncio.Lock()):
            if tool not in self._known:
                self._known[tool] = await self._ask(tool, given["PATH"])
                while len(self._known) > KEPT_VERSIONS:
                    self._known.popitem(last=False)
            self._asking.pop(tool, None)
            return self._known[tool]

    def _tool(self, word: str, path: str) -> _Tool | None:
        name = posixpath.basename(word)
        option = next((how for glob, how in ASKED if fnmatch.fnmatchcase(name, glob)), None)
        if option is None or (word != name and not word.startswith("/")):
            return None
        found = shutil.which(word, path=path)
        if found is None or not found.startswith("/") or not self._sees(found):
            return None
        status = os.stat(found)  # noqa: PTH116
        return _Tool(found, option, status.st_size, status.st_mtime_ns)

    def _sees(self, path: str) -> bool:
        """Whether actions see the same program at `path` as this process does."""
        return any(f"{path}/".startswith(f"{folder.rstrip('/')}/") for folder in self.visible)

    async def _ask(self, tool: _Tool, path: str) -> str:
        async with self.folders.action() as folder:
            try:
                said = await try_out(
                    self.sandbox,
                    folder,
                    [tool.path, tool.option],
                    {"PATH": path},
                    seconds=VERSION_SECONDS,
                )
            except SandboxUnavailable:  # it has no such option, or takes too long
                return ""
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[0][:VERSION_CHARACTERS] if lines else ""
