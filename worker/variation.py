"""Running an action otherwise than always, to see what its outputs depend on."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from protos import worker_pb2
from re_client.status import Refused

MAX_SKIPPED_PIDS = 10_000  # each takes a third of a millisecond
MAX_DELAY_SECONDS = 3600
# Each number is that of a process that ends at once. What follows is started, not executed in
# place: it is to have a number of its own.
_SKIP = 'n=$1; shift; while [ "$n" -gt 0 ]; do (:); n=$((n - 1)); done; "$@"; exit "$?"'


def skipping(count: int) -> list[str]:
    """Return a command that uses up `count` process numbers, and then runs what follows it."""
    return ["/bin/sh", "-c", _SKIP, "sh", str(count)] if count else []


def check(varied: worker_pb2.Variation, taken: Iterable[str]) -> None:
    """Raise Refused for what cannot be done. taken: folders that hold something else."""
    root = varied.root
    if root and (posixpath.normpath(root) != root or not root.startswith("/") or root == "/"):
        raise Refused(f"variation.root: {root!r} is not an absolute path in its shortest form")
    if root and (over := [path for path in taken if _overlap(root, path)]):
        raise Refused(f"variation.root: {root!r} is in the way of {over[0]}")
    if not 0 <= varied.skipped_pids <= MAX_SKIPPED_PIDS:
        raise Refused(f"variation.skipped_pids: {varied.skipped_pids} > {MAX_SKIPPED_PIDS}")
    if not 0 <= varied.delay.ToSeconds() <= MAX_DELAY_SECONDS:
        raise Refused(f"variation.delay: {varied.delay.ToSeconds()} s > {MAX_DELAY_SECONDS} s")
    if not varied.processors >= 0:
        raise Refused(f"variation.processors: {varied.processors} < 0")
    names = [name for name in varied.environment if not name or "=" in name or "\0" in name]
    if names or any("\0" in value for value in varied.environment.values()):
        raise Refused("variation.environment: what is no variable")


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
