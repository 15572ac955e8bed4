"""Files as real tools make them, and what a format does to them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from determinism.format import HEAD_BYTES, TAIL_BYTES, Conditions, Format, applied

BEGUN, ENDED = 1_800_000_000.0, 1_800_000_060.0
INSIDE, BEFORE, AFTER = int(BEGUN) + 30, int(BEGUN) - 1, int(ENDED) + 1

WINDOW = Conditions(
    begun=BEGUN,
    ended=ENDED,
    root="/b/0123456789abcdef",
    seen_root="",
    in_inputs=lambda text: False,
    member=lambda data, name: [],
)
"""Conditions of an action without inputs, in a sandbox, from BEGUN to ENDED."""


def today(*, seen_root: Path | None = None) -> Conditions:
    """Return conditions of an action that began a minute ago and goes on."""
    now = time.time()
    return replace(WINDOW, begun=now - 60, ended=now + 60, seen_root=str(seen_root or ""))


def with_inputs(conditions: Conditions, *inputs: bytes) -> Conditions:
    return replace(conditions, in_inputs=lambda text: any(text in each for each in inputs))


def run(*command: str | Path, cwd: Path, stdin: bytes = b"", **variables: str) -> bytes:
    """Return what a command prints. Raises CalledProcessError if it fails."""
    environment = {**os.environ, "LC_ALL": "C", **variables}
    return subprocess.run(
        command, cwd=cwd, env=environment, input=stdin, capture_output=True, check=True
    ).stdout


def canonical(format: Format, data: bytes, conditions: Conditions, name: str = "output") -> bytes:
    """Return the canonical form of a file, having checked that it is one. Raises Declined."""
    assert format.matches(data[:HEAD_BYTES], data[-TAIL_BYTES:], name)
    edits = format.edits(data, conditions)
    assert all(0 <= edit.start <= edit.end <= len(data) for edit in edits)
    assert all(one.end <= other.start for one, other in pairwise(edits))
    made = applied(data, edits)
    assert format.matches(made[:HEAD_BYTES], made[-TAIL_BYTES:], name)
    assert list(format.edits(made, conditions)) == []
    return made


def written(path: Path, data: bytes | str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)
    return path


def twice(make: Callable[[], bytes]) -> tuple[bytes, bytes]:
    """Return two different results of one command."""
    first, then = make(), make()
    assert first != then
    return first, then
