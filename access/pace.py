"""How fast a client must send: one that sends nothing, or drips, holds what others need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeastPace:
    """At least `bytes` in each `seconds` that are spent waiting for the client."""

    seconds: float
    bytes: int


class Pace:
    """One stream's pace. Only time in which the server waited for the client counts.

    now: clock seconds, which never fall.
    """

    __slots__ = ("_asked", "_came", "_least", "_waited")

    def __init__(self, least: LeastPace) -> None:
        self._least = least
        self._waited = 0.0
        self._came = 0
        self._asked: float | None = None

    def ask(self, now: float) -> None:
        """Begin to wait for a message."""
        self._asked = now

    def came(self, now: float, size: int) -> None:
        """End the wait: a message of `size` bytes is there."""
        if self._asked is not None:
            self._waited += now - self._asked
        self._asked = None
        self._came += size
        if self._came >= self._least.bytes:
            self._waited, self._came = 0.0, 0

    def too_slow(self, now: float) -> bool:
        """Tell whether the client, which is being waited for, has had its time."""
        return self._asked is not None and self.waited(now) >= self._least.seconds

    def waited(self, now: float) -> float:
        """Return how many seconds went into the bytes that do not suffice yet."""
        return self._waited + (now - self._asked if self._asked is not None else 0.0)
