"""Waiting for what another process does when it likes."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 60


def until(true: Callable[[], bool]) -> None:
    """Return as soon as `true` says so; fail after a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.05)
