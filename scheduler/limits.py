"""The bounds and weights that scheduling goes by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds and weights, all above 0."""

    max_queued: int = 100_000
    """Actions that wait. As many requests more may wait for an action that another asked for."""

    max_attempts: int = 3
    """Workers that are tried when the one that runs an action is lost."""

    keep_finished_seconds: float = 600
    """How long a finished operation can be found."""

    max_finished: int = 10_000
    """Finished operations that are kept at most."""

    max_finished_bytes: int = 128 << 20
    """Bytes of the responses of finished operations that are kept; the newest is kept always."""

    abandoned_seconds: float = 60
    """How long a queued action stays after the last that watched it went away."""

    no_worker_seconds: float = 60
    """How long an action waits for a first worker of its platform."""

    aging_seconds: float = 60
    """Waiting time that makes an action as urgent as one priority step does. An action of priority
    5 thus starts before one of priority 0 that came 5 times this later."""

    share_seconds: float = 600
    """Time since an invocation's last start that weighs as much as one execution less running. It
    is long, so that running executions decide, and finite, so that nobody waits for ever."""
