"""What is to run where: the decisions, without a clock and without effects."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import takewhile

from scheduler.fairness import Lane, choose
from scheduler.job import Job, JobState, Worker
from scheduler.limits import Limits
from scheduler.platform import Platform, Requirement, requirement
from scheduler.pool import Pool
from scheduler.request import MergeKey, Request


class QueueFull(RuntimeError):
    """As many actions wait as may; there will be room later."""

    def __init__(self, max_queued: int) -> None:
        super().__init__(
            f"{max_queued} actions wait already, the bound set by execution.max_queued"
        )
        self.max_queued = max_queued


class Draining(RuntimeError):
    """The server is about to stop and begins nothing new; ask again, here or elsewhere."""

    def __init__(self) -> None:
        super().__init__("the server is stopping and takes no more actions; try again")


class End(Enum):
    """Why a job ends without a result."""

    LOST = auto()  # as many workers as may be tried were lost with it
    UNSERVED = auto()  # no worker serves its platform
    DRAINED = auto()  # the server stops


@dataclass(slots=True)
class Effects:
    """What must happen now, in this order.

    requeued: jobs whose worker is gone and that wait again.
    stopped: running jobs that nobody waits for any more, and where they run.
    started: jobs to be given to their `worker`.
    ended: jobs that end without a result. Their waiters are still named in them.
    abandoned: waiters that are dropped because no client listened for too long.
    """

    requeued: list[Job] = field(default_factory=list)
    stopped: list[tuple[Worker, Job]] = field(default_factory=list)
    started: list[Job] = field(default_factory=list)
    ended: list[tuple[Job, End]] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)


class Queue:
    """Jobs from submission to result, and the workers that run them.

    Waiters are known by name, each of which is given once. `now` is clock seconds, never falling.
    After each call no worker has a free slot for a job that waits.
    A call costs O(log n) in the number of jobs; a start looks at the head of each platform
    requirement that the worker serves and for which something waits.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = Pool()
        self._lanes: dict[Requirement, Lane] = {}
        self._served: dict[Platform, dict[Requirement, Lane]] = {}
        self._running: dict[Worker, dict[Job, None]] = {}
        self._queued = 0
        self._mergeable: dict[MergeKey, Job] = {}
        self._waiters: dict[str, Job] = {}
        self._unwatched: OrderedDict[str, float] = OrderedDict()
        self._submitted = 0
        self._jobs = 0
        self._closed = False

    @property
    def workers(self) -> Pool:
        """The connected workers, to look at."""
        return self._pool

    @property
    def running(self) -> int:
        """Count the jobs that workers run."""
        return sum(map(len, self._running.values()))

    @property
    def idle(self) -> bool:
        """Whether no job waits, runs or is being settled."""
        return not self._jobs

    def depths(self) -> dict[Requirement, int]:
        """Count the jobs that wait, by what they ask of a worker, where any do."""
        return {required: len(lane) for required, lane in self._lanes.items() if lane}

    # Clients

    def submit(
        self, request: Request, name: str, *, now: float, wall: float
    ) -> tuple[Job, Effects]:
        """Let the waiter `name` wait for what `request` asks.

        wall: seconds since the epoch.
        Raises QueueFull or Draining before anything is changed.
        """
        if self._closed:
            raise Draining
        effects = Effects()
        key = request.merge_key
        if key is not None and key in self._mergeable:
            job = self._mergeable[key]
            if len(self._waiters) - self._jobs >= self._limits.max_queued:
                raise QueueFull(self._limits.max_queued)
            self._join(job, request, name, now)
            self._place(job)
            return job, effects
        required = requirement(request.platform)
        if self._queued >= self._limits.max_queued and not self._pool.choose(required, None):
            raise QueueFull(self._limits.max_queued)
        self._submitted += 1
        self._jobs += 1
        job = Job(self._submitted, request, required, now, wall, now)
        if key is not None:
            self._mergeable[key] = job
        self._join(job, request, name, now)
        job.place = job.lead()
        self._enqueue(job, now)
        self._fill([job], now, effects)
        return job, effects

    def cancel(self, name: str, *, now: float) -> Effects:
        """Let the waiter `name` wait no more. A job that nobody else waits for is dropped."""
        effects = Effects()
        job = self._waiters.pop(name)
        del job.waiters[name]
        self._unwatched.pop(name, None)
        if job.waiters:
            self._place(job)
        elif job.state is JobState.QUEUED:
            self._dequeue(job)
            self._forget(job)
        elif job.state is JobState.RUNNING:
            worker = self._unassign(job)
            effects.stopped.append((worker, job))
            self._forget(job)
            self._feed(worker, now, effects)
        return effects

    def watch(self, name: str) -> None:
        """Note that a client listens for the waiter `name`."""
        if job := self._waiters.get(name):
            job.waiters[name].watched = True
            self._unwatched.pop(name, None)

    def unwatch(self, name: str, *, now: float) -> None:
        """Note that no client listens for the waiter `name` any more."""
        if job := self._waiters.get(name):
            job.waiters[name].watched = False
            self._await_watcher(job, name, now)

    def expire(self, *, now: float) -> Effects:
        """Drop what has waited too long for a client to listen or for a worker to come."""
        effects = Effects()
        latest = now - self._limits.no_worker_seconds
        for lane in list(self._lanes.values()):
            if lane.unserved_since is None or lane.unserved_since > latest:
                continue
            for job in list(takewhile(lambda job: job.waiting_since <= latest, lane)):
                self._dequeue(job)
                self._end(job, End.UNSERVED, effects)
        while self._unwatched:
            name, since = next(iter(self._unwatched.items()))
            if since > now - self._limits.abandoned_seconds:
                break
            del self._unwatched[name]
            if self._waiters[name].state is JobState.QUEUED:
                self.cancel(name, now=now)
                effects.abandoned.append(name)
        return effects

    def close(self) -> Effects:
        """Begin nothing more: what waits ends, what runs goes on, nothing new is taken."""
        self._closed = True
        effects = Effects()
        for lane in list(self._lanes.values()):
            for job in list(lane):
                self._dequeue(job)
                self._end(job, End.DRAINED, effects)
        return effects

    # Workers

    def attach(self, worker: Worker, *, now: float) -> Effects:
        """Take in a worker that has connected."""
        self._pool.add(worker)
        self._running[worker] = {}
        if worker.platform not in self._served:
            served = {
                required: lane
                for required, lane in self._lanes.items()
                if worker.platform.serves(required)
            }
            self._served[worker.platform] = served
            for lane in served.values():
                lane.unserved_since = None
        effects = Effects()
        self._feed(worker, now, effects)
        return effects

    def retire(self, worker: Worker, *, now: float) -> None:
        """Give `worker` no more jobs; those that it runs go on."""
        self._pool.retire(worker)
        if worker.platform in self._pool.offers:
            return
        for lane in self._served.pop(worker.platform, {}).values():
            if not self._pool.serves(lane.required):
                lane.unserved_since = now

    def detach(self, worker: Worker, *, now: float) -> Effects:
        """Let go of a worker that is gone; what it ran is given to others."""
        effects = Effects()
        lost = list(self._running[worker])
        for job in lost:
            self._unassign(job)
        self.retire(worker, now=now)
        self._pool.remove(worker)
        del self._running[worker]
        for job in lost:
            if self._closed:
                self._end(job, End.DRAINED, effects)
            elif job.attempts >= self._limits.max_attempts:
                self._end(job, End.LOST, effects)
            else:
                self._requeue(job, now)
                effects.requeued.append(job)
        self._fill(effects.requeued, now, effects)
        return effects

    def finish(self, job: Job, *, now: float) -> Effects:
        """Take back the slot of a job that its worker is done with.

        Others may still join the job, until it is `settled`.
        """
        effects = Effects()
        worker = self._unassign(job)
        job.state = JobState.SETTLING
        self._feed(worker, now, effects)
        return effects

    def settled(self, job: Job) -> None:
        """Let go of a finished job whose result is there for all who wait for it."""
        self._forget(job)

    # How it is done

    def _join(self, job: Job, request: Request, name: str, now: float) -> None:
        job.join(name, request)
        self._waiters[name] = job
        self._await_watcher(job, name, now)

    def _await_watcher(self, job: Job, name: str, now: float) -> None:
        """Begin to count the time for which nobody listens."""
        if job.state is JobState.QUEUED:
            self._unwatched.pop(name, None)
            self._unwatched[name] = now

    def _place(self, job: Job) -> None:
        """Let a job that waits do so on the account of its most urgent waiter."""
        if job.state is JobState.QUEUED and (place := job.lead()) != job.place:
            self._lanes[job.required].move(job, place)

    def _lane(self, required: Requirement, now: float) -> Lane:
        if required in self._lanes:
            return self._lanes[required]
        lane = self._lanes[required] = Lane(required, self._limits)
        serving = [platform for platform in self._served if platform.serves(required)]
        for platform in serving:
            self._served[platform][required] = lane
        if not serving:
            lane.unserved_since = now
        return lane

    def _forget_lane(self, lane: Lane) -> None:
        """Drop a lane in which nothing waits and nothing runs."""
        if lane.forgettable:
            del self._lanes[lane.required]
            for served in self._served.values():
                served.pop(lane.required, None)

    def _enqueue(self, job: Job, now: float) -> None:
        self._lane(job.required, now).add(job)
        self._queued += 1

    def _dequeue(self, job: Job) -> None:
        lane = self._lanes[job.required]
        lane.discard(job)
        self._queued -= 1
        self._forget_lane(lane)

    def _requeue(self, job: Job, now: float) -> None:
        """Let a job wait again; what begins after a request may answer it again, too."""
        job.state = JobState.QUEUED
        job.place = job.lead()
        job.waiting_since = now
        self._enqueue(job, now)
        if (key := job.request.merge_key) is not None:
            self._mergeable.setdefault(key, job)
        for name, waiter in job.waiters.items():
            if not waiter.watched:
                self._await_watcher(job, name, now)

    def _fill(self, jobs: list[Job], now: float, effects: Effects) -> None:
        """Use free slots for what waits beside `jobs`, which came just now."""
        for job in jobs:
            while job.state is JobState.QUEUED:
                worker = self._pool.choose(job.required, job.request.input_root)
                if worker is None:
                    break
                self._take(worker, now, effects)

    def _feed(self, worker: Worker, now: float, effects: Effects) -> None:
        """Fill the worker's free slots."""
        while worker.free and self._take(worker, now, effects):
            pass

    def _take(self, worker: Worker, now: float, effects: Effects) -> bool:
        """Start the job whose turn it is; return False if none waits for this worker."""
        job = choose(self._served[worker.platform].values(), self._pool.warm(worker))
        if job is None:
            return False
        self._lanes[job.required].start(job, now)
        self._queued -= 1
        self._pool.occupy(worker, job.request.input_root)
        self._running[worker][job] = None
        job.state, job.worker, job.attempts = JobState.RUNNING, worker, job.attempts + 1
        if job.request.fresh:
            self._unmerge(job)
        effects.started.append(job)
        return True

    def _unassign(self, job: Job) -> Worker:
        """Take a running job from its worker, whose slot is free then."""
        worker = job.worker
        assert worker is not None
        job.worker = None
        del self._running[worker][job]
        self._pool.release(worker)
        lane = self._lanes[job.required]
        lane.stop(job)
        self._forget_lane(lane)
        return worker

    def _end(self, job: Job, end: End, effects: Effects) -> None:
        self._forget(job)
        effects.ended.append((job, end))

    def _unmerge(self, job: Job) -> None:
        """Let nobody join any more."""
        key = job.request.merge_key
        if key is not None and self._mergeable.get(key) is job:
            del self._mergeable[key]

    def _forget(self, job: Job) -> None:
        job.state = JobState.DONE
        self._jobs -= 1
        self._unmerge(job)
        for name in job.waiters:
            del self._waiters[name]
            self._unwatched.pop(name, None)
