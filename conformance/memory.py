"""How much memory the server has taken, where its process is one of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.target import Target
from conformance.violation import expect

MIB = 1 << 20


@contextmanager
def bounded_memory(target: Target, most_bytes: int) -> Iterator[None]:
    """Expect that the server's peak does not grow by more than `most_bytes` in the block.

    Nothing is looked at where the process is not given.
    """
    before = _peak_bytes(target.pid)
    yield
    grown = _peak_bytes(target.pid) - before
    expect(grown <= most_bytes, f"the server's peak memory grew by {grown / MIB:.0f} MiB")


def _peak_bytes(pid: int | None) -> int:
    """Return VmHWM, proc(5); 0 where there is no process to look at."""
    if pid is None:
        return 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
