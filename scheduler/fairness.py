"""Whose turn it is: priorities with aging, and fair shares between invocations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from cas.digest import Digest
from scheduler.affinity import Roots
from scheduler.heap import Heap
from scheduler.job import Job, Place
from scheduler.limits import Limits
from scheduler.platform import Requirement

MAX_PASSES = 16  # times in a row that a job is passed over for one whose inputs the worker has


class Line:
    """The jobs of one invocation at one priority, oldest first.

    running: how many of them run. served_at: clock seconds of the last start; turn: its number.
    """

    __slots__ = ("_passes", "_roots", "running", "served_at", "turn", "waiting")

    def __init__(self) -> None:
        self.waiting: Heap[Job] = Heap()
        self.running = 0
        self.served_at = float("-inf")
        self.turn = 0
        self._roots = Roots()
        self._passes = 0

    def add(self, job: Job) -> None:
        self.waiting.put(job, job.number)
        self._roots.add(job)

    def discard(self, job: Job) -> None:
        self.waiting.discard(job)
        self._roots.discard(job)

    def next(self, warm: Collection[Digest]) -> Job:
        """Return the oldest job, or for a bounded number of times one with `warm` inputs."""
        head = self.waiting.first()
        helped = self._roots.warm(warm) if self._passes < MAX_PASSES else None
        job = helped or head
        self._passes = 0 if job is head else self._passes + 1
        return job


class Lane:
    """The jobs of one platform requirement: those that wait, and how many run on whose account.

    unserved_since: clock seconds since when no worker serves it; None while one does.
    """

    def __init__(self, required: Requirement, limits: Limits) -> None:
        self.required = required
        self.unserved_since: float | None = None
        self._limits = limits
        self._aged: Heap[Job] = Heap()
        self._lines: dict[Place, Line] = {}
        self._turns: dict[int, Heap[Line]] = {}
        self._priorities: Heap[int] = Heap()
        self._starts = 0

    def __len__(self) -> int:
        """Count the jobs that wait."""
        return len(self._aged)

    def __iter__(self) -> Iterator[Job]:
        """Return the jobs that wait, in the order in which they began to."""
        return iter(self._aged)

    @property
    def forgettable(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._lines

    def add(self, job: Job) -> None:
        line = self._lines.get(job.place)
        if line is None:
            line = self._lines[job.place] = Line()
        line.add(job)
        aged = job.place[0] * self._limits.aging_seconds + job.queued_at
        self._aged.put(job, aged, job.number)
        self._rank(job.place, line)

    def discard(self, job: Job) -> None:
        """Take out a job that waits."""
        line = self._lines[job.place]
        line.discard(job)
        self._aged.discard(job)
        self._rank(job.place, line)

    def move(self, job: Job, place: Place) -> None:
        """Let a job that waits do so on another account."""
        line = self._lines[job.place]
        line.discard(job)
        self._rank(job.place, line)
        job.place = place
        self.add(job)

    def start(self, job: Job, now: float) -> None:
        """Note that a job that waited runs."""
        self._starts += 1
        line = self._lines[job.place]
        line.running, line.served_at, line.turn = line.running + 1, now, self._starts
        self.discard(job)

    def stop(self, job: Job) -> None:
        """Note that a job that ran does not any more."""
        line = self._lines[job.place]
        line.running -= 1
        self._rank(job.place, line)

    def _rank(self, place: Place, line: Line) -> None:
        """Put `line` where it belongs between those of its priority."""
        priority = place[0]
        if line.waiting:
            if priority not in self._turns:
                self._turns[priority] = Heap()
                self._priorities.put(priority, priority)
            head = line.waiting.first()
            since = max(head.queued_at, line.served_at)
            share = line.running * self._limits.share_seconds + since
            self._turns[priority].put(line, share, line.turn, head.number)
            return
        if priority in self._turns:
            self._turns[priority].discard(line)
            if not self._turns[priority]:
                del self._turns[priority]
                self._priorities.discard(priority)
        if not line.running:
            del self._lines[place]

    # The rest is asked of lanes in which something waits.

    def eldest(self) -> Job:
        """Return the most urgent job if each is as urgent as waiting has made it."""
        return self._aged.first()

    def eldest_key(self) -> tuple[float, ...]:
        return self._aged.first_key()

    def priority(self) -> int:
        """Return the most urgent priority that clients gave."""
        return self._priorities.first()

    def turn_key(self) -> tuple[float, ...]:
        """Rank this lane's turn at its most urgent priority; compares between lanes."""
        return self._turns[self.priority()].first_key()

    def next(self, warm: Collection[Digest]) -> Job:
        """Return the job whose turn it is at the most urgent priority."""
        return self._turns[self.priority()].first().next(warm)


def choose(lanes: Iterable[Lane], warm: Collection[Digest]) -> Job | None:
    """Return the job that a worker is to run next.

    lanes: those that the worker serves. warm: input roots that it has.

    The most urgent priority comes first, and within it the invocation with the fewest running
    executions (of equal ones the one whose last start is longest ago; see Limits.share_seconds).
    But a job that has waited so long that it is more urgent than all of that priority
    (Limits.aging_seconds) comes before them: it alone, not the others of its priority.
    Every job's rank is fixed while it waits, and newer ones rank ever later: nothing starves.
    """
    waiting = [lane for lane in lanes if lane]
    if not waiting:
        return None
    eldest = min(waiting, key=Lane.eldest_key).eldest()
    priority = min(lane.priority() for lane in waiting)
    if eldest.place[0] > priority:
        return eldest
    urgent = [lane for lane in waiting if lane.priority() == priority]
    return min(urgent, key=Lane.turn_key).next(warm)
