"""What is decided about: workers, executions, and those who wait for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from heapq import heappop, heappush

from scheduler.live import LiveOutput
from scheduler.platform import Platform, Requirement
from scheduler.request import Request


@dataclass(eq=False, slots=True)
class Worker:
    """A connected worker.

    name: what people call it; two that connect under one name are two workers.
    slots: actions that it runs at one time, at least 1.
    toolchain: digest of the tools that its actions see, or "".
    busy: slots that are taken. draining: takes no more.
    """

    name: str
    platform: Platform
    slots: int
    toolchain: str = ""
    busy: int = 0
    draining: bool = False

    @property
    def free(self) -> int:
        """Slots that may be filled now."""
        return 0 if self.draining else self.slots - self.busy


class JobState(Enum):
    """Where a job is on its way."""

    QUEUED = auto()
    RUNNING = auto()
    SETTLING = auto()  # the worker is done, the result is not published yet
    DONE = auto()


@dataclass(eq=False, slots=True)
class Waiter:
    """One request that waits for a job. watched: whether a client listens just now."""

    request: Request
    job: Job
    watched: bool = False


Place = tuple[int, str]
"""A priority and an invocation: on whose account a job waits and runs."""


@dataclass(eq=False, slots=True)
class Job:
    """One execution, which answers all who wait for it.

    number: rises from job to job, in the order of submission.
    request: that of the first waiter.
    queued_at: clock seconds of submission; queued_wall: the same in seconds since the epoch.
    waiting_since: clock seconds at which it last began to wait.
    attempts: times that it was given to a worker. output: what it writes in the latest of them.
    """

    number: int
    request: Request
    required: Requirement
    queued_at: float
    queued_wall: float
    waiting_since: float
    state: JobState = JobState.QUEUED
    place: Place = (0, "")
    attempts: int = 0
    worker: Worker | None = None
    output: LiveOutput | None = None
    waiters: dict[str, Waiter] = field(default_factory=dict)
    _leads: list[tuple[int, int, str]] = field(default_factory=list)
    _joined: int = 0

    def join(self, name: str, request: Request) -> Waiter:
        """Let one more wait."""
        waiter = self.waiters[name] = Waiter(request, self)
        self._joined += 1
        heappush(self._leads, (request.priority, self._joined, name))
        return waiter

    def lead(self) -> Place:
        """Return the place that the most urgent waiter gives, of equal ones the first.

        There is at least one waiter.
        """
        while self._leads[0][2] not in self.waiters:
            heappop(self._leads)
        request = self.waiters[self._leads[0][2]].request
        return request.priority, request.invocation
