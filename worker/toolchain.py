"""The tools that actions on a worker can see, as one digest: equal on equal images."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from re_config import schema

RELEASES = ("/etc/os-release", "/usr/lib/os-release")  # the first that is there; os-release(5)
DPKG_STATUS = "/var/lib/dpkg/status"
# Folders of programs beside those of PATH, as globs below folders that actions see.
BESIDE = ("/opt/*/bin", "/usr/local/*/bin", "/usr/lib/llvm-*/bin", "/usr/lib/jvm/*/bin")
MAX_ENTRIES = 50_000  # of one folder
DIGEST_CHARACTERS = 64


def digest(config: schema.Worker) -> str:
    """Return what the configuration calls the toolchain, or the digest of what is here.

    It is of the machine's architecture, the release of the system, its packages with versions,
    and the names and sizes of programs, but of no times: installing the same again changes
    nothing.
    """
    if config.toolchain:
        return config.toolchain
    hasher = hashlib.sha256()
    for line in _lines(visible(config), config.env_path.split(":")):
        hasher.update(line.encode(errors="surrogateescape") + b"\n")
    return hasher.hexdigest()


def visible(config: schema.Worker) -> Sequence[str]:
    """Return the folders of the host that actions see."""
    match config.sandbox:
        case schema.Bubblewrap(read_only=paths):
            return paths
        case _:
            return ("/",)


def _lines(seen: Sequence[str], path: Iterable[str]) -> Iterator[str]:
    yield platform.machine()
    for release in RELEASES:
        if Path(release).is_file():
            yield Path(release).read_text(errors="surrogateescape")
            break
    yield from _packages(Path(DPKG_STATUS))
    beside = [str(each) for glob in BESIDE for each in Path("/").glob(glob.lstrip("/"))]
    for folder in sorted({*path, *beside}):
        if any(f"{folder}/".startswith(f"{each.rstrip('/')}/") for each in seen):
            yield folder
            yield from _programs(folder)


def _packages(status: Path) -> list[str]:
    """Return name, version and architecture of each package that is installed."""
    if not status.is_file():
        return []
    found = []
    for paragraph in status.read_text(errors="surrogateescape").split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if line.startswith(("Package: ", "Version: ", "Architecture: ", "Status: "))
        )
        if fields.get("Status", "").endswith(" installed"):
            found.append(" ".join(fields.get(name, "") for name in _NAMED))
    return sorted(found)


_NAMED = ("Package", "Version", "Architecture")


def _programs(folder: str) -> list[str]:
    """Return name and size of each program in `folder`, links by what they name."""
    found = []
    try:
        entries = os.scandir(folder)
    except OSError:
        return []
    with entries:
        for entry, _ in zip(entries, range(MAX_ENTRIES), strict=False):
            if entry.is_symlink():
                found.append(f"{entry.name} -> {os.readlink(entry.path)}")  # noqa: PTH115
            elif entry.is_file(follow_symlinks=False) and os.access(entry.path, os.X_OK):
                found.append(f"{entry.name} {entry.stat(follow_symlinks=False).st_size}")
    return sorted(found)
