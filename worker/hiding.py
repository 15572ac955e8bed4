"""What actions must not see of what the sandbox shows them of the host."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path


def covers(hidden: Iterable[str], visible: Iterable[str]) -> dict[str, list[str]]:
    """Return bubblewrap's options that cover each of `hidden`, by where actions would see it.

    visible: paths of the host that are shown. What none of them shows needs no cover, nor does
    what is not there: nothing can be made there while it is shown, since it is read-only.
    """
    shown = list(visible)
    return {
        place: _cover(place, real)
        for path in hidden
        for real in (os.path.realpath(path),)
        for place in _places(real, shown)
        if Path(real).exists()
    }


def _places(real: str, visible: list[str]) -> Iterator[str]:
    """Yield where a path of the host is seen."""
    for path in visible:
        root = os.path.realpath(path)
        if real == root or real.startswith(f"{root.rstrip('/')}/"):
            yield posixpath.normpath(f"{path}/{os.path.relpath(real, root)}")


def _cover(place: str, real: str) -> list[str]:
    if Path(real).is_dir():
        return ["--perms", "0555", "--tmpfs", place, "--remount-ro", place]
    return ["--ro-bind", "/dev/null", place]  # a mount without devices: it cannot even be read
