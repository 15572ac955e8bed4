"""Real C++ projects, from the source packages of the Debian that this machine runs."""

from __future__ import annotations

import fcntl
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ETC_APT = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".demo" / "sources"
"""Where archives are kept, so that a second run needs no network."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project, and how Bazel is asked to build it.

    source: name of Debian's source package.
    targets: what is built.
    tests: those that are run.
    """

    title: str
    source: str
    targets: tuple[str, ...]
    tests: tuple[str, ...] = ()


ABSEIL = Project(
    "Abseil",
    "abseil",
    ("//absl/strings", "//absl/strings:str_format", "//absl/time"),
)
DOUBLE_CONVERSION = Project(
    "double-conversion", "double-conversion", ("//:double-conversion",), ("//:cctest",)
)


def unpack(project: Project, folder: Path) -> None:
    """Put the project's sources into the new folder `folder`, downloading them if need be."""
    archive = _archive(project)
    folder.mkdir(parents=True)
    subprocess.run(
        ["tar", "--extract", "--strip-components=1", "--file", archive, "--directory", folder],
        check=True,
    )
    (folder / "WORKSPACE").touch()


def _archive(project: Project) -> Path:
    """Return the project's archive as its authors released it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept := _kept(project)):
            _download(project)
            kept = _kept(project)
    if not kept:
        raise FileNotFoundError(f"Debian's source package {project.source} holds no archive")
    return kept[-1]


def _kept(project: Project) -> list[Path]:
    return sorted(CACHE.glob(f"{project.source}_*.orig.tar.*z*"))


def _download(project: Project) -> None:
    """Let apt fetch and verify the source package into the cache.

    With package lists of its own, since those of the machine need not name sources, and need root.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sources = folder / "sources"
        for name in ("lists/partial", "cache/archives/partial", "sources"):
            (folder / name).mkdir(parents=True)
        for number, (suffix, entry) in enumerate(source_entries(ETC_APT, _codename())):
            (sources / f"{number}{suffix}").write_text(entry)
        apt = [
            "apt-get",
            "--quiet=2",
            "--option=Dir::Etc::sourcelist=-",
            f"--option=Dir::Etc::sourceparts={sources}",
            f"--option=Dir::State::lists={folder / 'lists'}",
            f"--option=Dir::Cache={folder / 'cache'}",
            "--option=APT::Sandbox::User=root",
        ]
        for words in (["update"], ["--download-only", "source", project.source]):
            done = subprocess.run(
                [*apt, *words], cwd=CACHE, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"apt-get {' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def _codename() -> str:
    found = re.search(r'^VERSION_CODENAME="?(\w+)"?$', OS_RELEASE.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{OS_RELEASE} names no VERSION_CODENAME: this needs Debian")
    return found[1]


def source_entries(apt: Path, codename: str) -> Iterator[tuple[str, str]]:
    """Yield the machine's own entries for release `codename`, asking for sources instead.

    apt: the folder that holds sources.list and sources.list.d.
    Yields the suffix that names the entry's format, and the entry.
    Source: sources.list(5), "one-line-style format" and "deb822-style format".
    """
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            if re.match(rf"deb\s(.*\s)?{codename}\s+(\S+\s+)*main\b", line):
                yield ".list", re.sub(r"^deb\s", "deb-src ", line) + "\n"
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
        for stanza in re.split(r"\n\s*\n", text):
            if (
                re.search(r"^Types:.*\bdeb\b", stanza, re.MULTILINE)
                and re.search(rf"^Suites:(.*\s)?{codename}(\s|$)", stanza, re.MULTILINE)
                and re.search(r"^Components:.*\bmain\b", stanza, re.MULTILINE)
            ):
                types = re.sub(r"^Types:.*$", "Types: deb-src", stanza, flags=re.MULTILINE)
                yield ".sources", types.strip() + "\n"
