"""What is made of files, and made again when they change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks at whether files have changed
_GONE = (0, 0, 0)

T = TypeVar("T")


class Followed(Generic[T]):
    """A value read from files. Where they become unusable, the last good one stays.

    read: makes it; raises ValueError or OSError. That is raised at first, and later only logged.
    May be asked from any thread.
    """

    def __init__(
        self,
        paths: tuple[Path, ...],
        read: Callable[[], T],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = paths
        self._read = read
        self._clock = clock
        self._stamps = self._stamped()
        self._looked = clock()
        self._value = read()

    def current(self) -> T:
        """Return the value as of the last second."""
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._value

    def _look(self) -> None:
        stamps = self._stamped()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        named = ", ".join(map(str, self._paths))
        try:
            self._value = self._read()
        except (OSError, ValueError) as error:
            log.error("%s: changed, and not usable: what was read before stays: %s", named, error)  # noqa: TRY400 - the trace says nothing more
        else:
            log.info("%s: read again", named)

    def _stamped(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what changes when a file does; links are followed, as secrets in Kubernetes are."""
    try:
        status = path.stat()
    except OSError:
        return _GONE
    return status.st_mtime_ns, status.st_size, status.st_ino
