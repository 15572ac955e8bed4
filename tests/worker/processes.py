"""Processes of actions, as the host sees them."""

from __future__ import annotations

from pathlib import Path


def sleepers(mark: str) -> list[str]:
    """Return the command lines of processes that have `mark` among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in words:
            found.append(str(words))
    return found
