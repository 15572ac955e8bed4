"""Calls that were refused: counted all, logged at a bounded rate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from access.refusal import NotAuthenticated, RightMissing, TooMuch

log = logging.getLogger(__name__)

Refusal = NotAuthenticated | RightMissing | TooMuch

LOGGED = 10  # in each window: whoever can connect can cause them
WINDOW_SECONDS = 10.0


class Rate:
    """Lets LOGGED through in each window. now: clock seconds, which never fall."""

    def __init__(self) -> None:
        self._begun = float("-inf")
        self._passed = 0
        self._held_back = 0

    def passes(self, now: float) -> int | None:
        """Return how many were held back since the last that passed; None if this one is, too."""
        if now - self._begun >= WINDOW_SECONDS:
            self._begun, self._passed = now, 0
        if self._passed >= LOGGED:
            self._held_back += 1
            return None
        self._passed += 1
        held_back, self._held_back = self._held_back, 0
        return held_back


class Refusals:
    """Counts by method and reason, both of closed sets."""

    def __init__(
        self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counted = Counter(
            "holdfast_refusals",
            "Calls refused for want of credentials, of a right or of room.",
            ["method", "reason"],
            registry=registry,
        )
        self._rate = Rate()
        self._clock = clock

    def refused(self, method: str, peer: str, refusal: Refusal) -> None:
        """Count one. method: `Service/Method`, or the path of a page. peer: an address."""
        self._counted.labels(method, refusal.reason).inc()
        held_back = self._rate.passes(self._clock())
        if held_back is not None:
            more = f" ({held_back} more were refused before)" if held_back else ""
            log.info("%s refused %s: %s%s", method, peer, refusal, more)
