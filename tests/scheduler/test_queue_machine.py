"""The decision core driven at random, held against a simple model and the rules it must keep."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from scheduler.job import Job, JobState, Worker
from scheduler.limits import Limits
from scheduler.platform import Platform
from scheduler.queue import Effects, End, Queue, QueueFull
from scheduler.request import Request
from tests.scheduler.asking import LINUX, MAC, request

LIMITS = Limits(
    max_queued=12,
    max_attempts=3,
    abandoned_seconds=30,
    no_worker_seconds=40,
    aging_seconds=10,
    share_seconds=1e6,  # longer than a run of the machine: running executions alone decide
)
PLATFORMS = st.sampled_from([LINUX, LINUX, LINUX, MAC, ()])
REQUESTS = st.builds(
    request,
    st.sampled_from("abcdefgh"),
    platform=PLATFORMS,
    priority=st.sampled_from([0, 0, 0, 1, -1]),
    invocation=st.sampled_from("xy"),
    input_root=st.sampled_from([None, "A", "B"]),
    mergeable=st.sampled_from([True, True, False]),
    fresh=st.sampled_from([False, False, True]),
)
OFFERS = st.sampled_from([LINUX, MAC, LINUX + MAC])


def aged(job: Job) -> float:
    return job.place[0] * LIMITS.aging_seconds + job.queued_at


class QueueMachine(RuleBasedStateMachine):
    """The model: which waiters wait for which request, and which jobs run where."""

    waiters = Bundle("waiters")

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(LIMITS)
        self.now = 0.0
        self.names = map(str, count())
        self.asked: dict[str, Request] = {}
        self.jobs: dict[str, Job] = {}
        self.running: dict[Job, Worker] = {}
        self.settling: list[Job] = []
        self.workers: list[Worker] = []
        self.attempts: Counter[Job] = Counter()

    # What happens

    @rule(target=waiters, wanted=REQUESTS)
    def submit(self, wanted: Request) -> str:
        return self.ask(wanted)

    def ask(self, wanted: Request) -> str:
        name = next(self.names)
        before = (self.queue.depths(), self.queue.running, self.queue.idle)
        try:
            job, effects = self.queue.submit(wanted, name, now=self.now, wall=self.now)
        except QueueFull:
            assert sum(self.queue.depths().values()) >= LIMITS.max_queued or (
                len(self.jobs) - len(self.live()) >= LIMITS.max_queued
            )
            assert before == (self.queue.depths(), self.queue.running, self.queue.idle)
            return name
        if job in self.jobs.values():
            assert job.request.merge_key == wanted.merge_key is not None
            assert not (wanted.fresh and job.state is not JobState.QUEUED)
        self.asked[name], self.jobs[name] = wanted, job
        self.apply(effects)
        return name

    @rule(target=waiters, wanted=st.lists(REQUESTS, min_size=2, max_size=6))
    def submit_many(self, wanted: list[Request]) -> MultipleResults[str]:
        return multiple(*map(self.ask, wanted))

    @rule(name=consumes(waiters))
    def cancel(self, name: str) -> None:
        if name not in self.jobs:
            return
        job = self.jobs.pop(name)
        effects = self.queue.cancel(name, now=self.now)
        if job not in self.jobs.values() and job in self.running:
            assert effects.stopped == [(self.running.pop(job), job)]
        else:
            assert not effects.stopped
        self.apply(effects)

    @rule(name=waiters, watched=st.booleans())
    def watch(self, name: str, *, watched: bool) -> None:
        if watched:
            self.queue.watch(name)
        else:
            self.queue.unwatch(name, now=self.now)

    @rule(seconds=st.floats(0.001, 30))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        effects = self.queue.expire(now=self.now)
        for name in effects.abandoned:
            assert self.jobs.pop(name).state in {JobState.QUEUED, JobState.DONE}
        for job, end in effects.ended:
            assert end is End.UNSERVED
            assert not any(w.platform.serves(job.required) for w in self.workers if not w.draining)
        self.apply(effects)

    @rule(platform=OFFERS, slots=st.integers(1, 3))
    def attach(self, platform: tuple[tuple[str, str], ...], slots: int) -> None:
        worker = Worker(next(self.names), Platform.of(platform), slots)
        self.workers.append(worker)
        self.apply(self.queue.attach(worker, now=self.now))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def detach(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        lost = [job for job, taker in self.running.items() if taker is worker]
        for job in lost:
            del self.running[job]
        self.workers.remove(worker)
        effects = self.queue.detach(worker, now=self.now)
        given_up = {job for job, _ in effects.ended}
        assert {*effects.requeued} | given_up == {*lost}
        for job, end in effects.ended:
            assert end is End.LOST
            assert self.attempts[job] == LIMITS.max_attempts
        self.apply(effects)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        self.queue.retire(data.draw(st.sampled_from(self.workers)), now=self.now)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.running)))
        del self.running[job]
        self.settling.append(job)
        self.apply(self.queue.finish(job, now=self.now))

    @precondition(lambda self: self.settling)
    @rule()
    def settle(self) -> None:
        job = self.settling.pop(0)
        self.queue.settled(job)
        self.answer(job)

    # What the model makes of it

    def answer(self, job: Job) -> None:
        """Let go of all who waited for `job`, which has ended."""
        mine = {name for name, other in self.jobs.items() if other is job}
        assert mine == {*job.waiters}
        for name in mine:
            del self.jobs[name]

    def apply(self, effects: Effects) -> None:
        for job, _ in effects.ended:
            self.answer(job)
        for number, job in enumerate(effects.started):
            worker = job.worker
            assert worker is not None
            assert job not in self.running
            assert not worker.draining
            assert worker.platform.serves(job.required)
            still = [other for other in self.queued() if worker.platform.serves(other.required)]
            then = [
                other
                for other in effects.started[number:]
                if worker.platform.serves(other.required)
            ]
            self.check_turn(job, [*still, *then])
            self.running[job] = worker
            self.attempts[job] += 1

    def check_turn(self, job: Job, waiting: list[Job]) -> None:
        """Hold the start of `job` against what waits for its worker, itself included."""
        priority = job.place[0]
        urgent = min(other.place[0] for other in waiting)
        eldest = min(waiting, key=lambda other: (aged(other), other.number))
        if eldest.place[0] > urgent:
            assert job is eldest
            return
        assert priority == urgent
        shares = Counter((other.required, other.place) for other in self.running)
        mine = shares[job.required, job.place]
        for other in waiting:
            if other.place[0] == priority:
                assert mine <= shares[other.required, other.place]

    def live(self) -> set[Job]:
        return {*self.jobs.values(), *self.running, *self.settling}

    def queued(self) -> set[Job]:
        return {job for job in self.jobs.values() if job.state is JobState.QUEUED}

    # What always holds

    @invariant()
    def nothing_is_lost(self) -> None:
        assert sum(self.queue.depths().values()) == len(self.queued())
        assert self.queue.running == len(self.running)
        assert self.queue.idle == (not self.live())
        for name, job in self.jobs.items():
            assert job.state is not JobState.DONE
            assert name in job.waiters
            assert job.request.action == self.asked[name].action

    @invariant()
    def no_action_runs_twice_at_once(self) -> None:
        keys = Counter(
            job.request.merge_key
            for job in self.live()
            if job.request.mergeable and not job.request.fresh
        )
        assert all(number == 1 for number in keys.values())

    @invariant()
    def a_job_that_waits_counts_for_its_most_urgent_waiter(self) -> None:
        for job in self.queued():
            waiting = sorted((name for name in job.waiters), key=int)
            lead = min((self.asked[name] for name in waiting), key=lambda asked: asked.priority)
            assert job.place == (lead.priority, lead.invocation)

    @invariant()
    def no_worker_has_more_than_its_slots(self) -> None:
        busy = Counter(self.running.values())
        for worker in self.workers:
            assert worker.busy == busy[worker] <= worker.slots

    @invariant()
    def no_free_worker_is_left_idle(self) -> None:
        for worker in self.workers:
            if worker.free:
                assert not any(worker.platform.serves(job.required) for job in self.queued())

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert all(number <= LIMITS.max_attempts for number in self.attempts.values())

    def teardown(self) -> None:
        """Whatever has happened, one more worker runs all that is left."""
        self.attach(LINUX + MAC, 1)
        while self.running or self.settling:
            for job in list(self.running):
                if job in self.running:
                    del self.running[job]
                    self.settling.append(job)
                    self.apply(self.queue.finish(job, now=self.now))
            while self.settling:
                self.settle()
        assert not self.jobs
        assert self.queue.idle
        assert not self.queue._lanes
        assert not self.queue._mergeable
        assert not self.queue._waiters
        assert not self.queue._unwatched


QueueMachine.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestQueue = pytest.mark.timeout(300)(QueueMachine.TestCase)
