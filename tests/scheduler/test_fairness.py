"""Whose turn it is, seen through the queue with workers that take one job after the other."""

from __future__ import annotations

from itertools import count

from scheduler.fairness import MAX_PASSES
from scheduler.job import Job, Worker
from scheduler.limits import Limits
from scheduler.queue import Queue
from tests.scheduler.asking import LINUX, MAC, request, worker

LIMITS = Limits(aging_seconds=10, share_seconds=1000)


class Floor:
    """A queue, and jobs by the name that a test gives them. Nothing runs until `attach`."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.queue = Queue(limits)
        self.names: dict[Job, str] = {}
        self.numbers = count()

    def submit(
        self,
        name: str,
        *,
        now: float = 0,
        priority: int = 0,
        invocation: str = "one",
        input_root: str | None = None,
        platform: tuple[tuple[str, str], ...] = LINUX,
    ) -> Job:
        asked = request(
            f"{name} {next(self.numbers)}",
            priority=priority,
            invocation=invocation,
            input_root=input_root,
            platform=platform,
        )
        job, _ = self.queue.submit(asked, f"waiter {next(self.numbers)}", now=now, wall=now)
        self.names[job] = name
        return job

    def attach(self, *, slots: int = 1, now: float = 0) -> tuple[Worker, list[Job]]:
        taker = worker(slots=slots, platform=LINUX + MAC)
        return taker, self.queue.attach(taker, now=now).started

    def order(self, *, now: float = 0) -> list[str]:
        """Run all that waits, one at a time and in no time; return the names in that order."""
        _, started = self.attach(now=now)
        order = []
        while started:
            [job] = started
            order.append(self.names[job])
            started = self.queue.finish(job, now=now).started
            self.queue.settled(job)
        return order


def test_of_equal_jobs_the_oldest_is_first() -> None:
    floor = Floor()
    for name in "abc":
        floor.submit(name)
    assert floor.order() == ["a", "b", "c"]


def test_a_lower_priority_value_is_more_urgent() -> None:
    # REAPI rule: ExecutionPolicy.priority: lower values are served before higher ones, 0 being
    # the default and negative values allowed.
    floor = Floor()
    for priority in (5, 0, -3, 2):
        floor.submit(str(priority), priority=priority)
    assert floor.order() == ["-3", "0", "2", "5"]


def test_waiting_makes_a_job_as_urgent_as_one_of_better_priority() -> None:
    floor = Floor()
    floor.submit("old and unimportant", priority=5, now=0)
    floor.submit("younger by less than 5 steps", priority=0, now=49)
    floor.submit("younger by more than 5 steps", priority=0, now=51)
    assert floor.order(now=51) == [
        "younger by less than 5 steps",
        "old and unimportant",
        "younger by more than 5 steps",
    ]


def test_waiting_helps_the_job_that_waited_not_others_of_its_priority() -> None:
    floor = Floor()
    floor.submit("old", priority=5, invocation="patient", now=0)
    floor.submit("urgent", priority=0, now=60)
    floor.submit("young", priority=5, invocation="pushing", now=60)
    assert floor.order(now=60) == ["old", "urgent", "young"]


def test_endless_urgent_work_does_not_starve_the_rest() -> None:
    floor = Floor()
    floor.submit("patient", priority=3, now=0)
    floor.submit("urgent", now=0)
    _, started = floor.attach()
    for second in range(1, 100):
        floor.submit("urgent", now=second)
        [job] = started
        if floor.names[job] == "patient":
            break
        started = floor.queue.finish(job, now=second).started
        floor.queue.settled(job)
    # begun 30 s after it came, with the third step of priority, and seen a second later
    assert second == 31


def test_invocations_of_one_priority_take_turns() -> None:
    floor = Floor()
    for number in range(6):
        floor.submit(f"big {number}", invocation="big")
    for number in range(2):
        floor.submit(f"small {number}", invocation="small")
    assert floor.order()[:4] == ["big 0", "small 0", "big 1", "small 1"]


def test_a_build_that_comes_late_gets_its_share_at_once() -> None:
    floor = Floor()
    for number in range(1000):
        floor.submit(f"big {number}", invocation="big", now=0)
    floor.submit("small", invocation="small", now=500)
    taker, started = floor.attach(slots=3, now=500)
    assert [floor.names[job] for job in started] == ["big 0", "small", "big 1"]
    assert taker.free == 0


def test_slots_are_shared_between_long_and_short_actions() -> None:
    floor = Floor()
    for number in range(4):
        floor.submit(f"long {number}", invocation="long")
    for number in range(20):
        floor.submit(f"short {number}", invocation="short")
    _, started = floor.attach(slots=4)
    running = {floor.names[job]: job for job in started}
    for now in range(1, 15):
        name = next(name for name in running if name.startswith("short"))
        job = running.pop(name)
        [started_now] = floor.queue.finish(job, now=now).started
        floor.queue.settled(job)
        running[floor.names[started_now]] = started_now
        assert sorted(name.split()[0] for name in running) == ["long", "long", "short", "short"]


def test_an_invocation_with_a_running_job_is_not_starved_by_ever_new_ones() -> None:
    floor = Floor()
    floor.submit("begun", invocation="patient")
    _, started = floor.attach(slots=2)
    floor.submit("new", invocation="new 0", now=0)
    floor.submit("patient", invocation="patient", now=1)
    [running] = [job for job in started if floor.names[job] == "begun"]
    [job] = [job for job in floor.names if floor.names[job] == "new"]
    for now in range(2, 2000):
        floor.submit("new", invocation=f"new {now}", now=now)
        [started_now] = floor.queue.finish(job, now=now).started
        floor.queue.settled(job)
        job = started_now
        if floor.names[job] == "patient":
            break
    assert job.place == running.place
    assert now == 1002  # just over share_seconds after it came


def test_priority_counts_before_shares() -> None:
    floor = Floor()
    for number in range(3):
        floor.submit(f"urgent {number}", invocation="big", priority=-1)
    floor.submit("other", invocation="small")
    _, started = floor.attach(slots=3)
    assert [floor.names[job] for job in started] == ["urgent 0", "urgent 1", "urgent 2"]


def test_turns_are_taken_between_platforms_that_one_worker_serves() -> None:
    floor = Floor()
    for number in range(3):
        floor.submit(f"linux {number}", invocation="big", platform=LINUX)
    floor.submit("mac", invocation="small", platform=MAC)
    assert floor.order() == ["linux 0", "mac", "linux 1", "linux 2"]


def test_a_job_whose_inputs_the_worker_has_is_taken_before_older_ones() -> None:
    floor = Floor()
    floor.submit("first", input_root="A")
    floor.submit("cold", input_root="B")
    floor.submit("unknown")
    floor.submit("warm", input_root="A")
    assert floor.order() == ["first", "warm", "cold", "unknown"]


def test_warm_inputs_do_not_count_against_another_invocations_turn() -> None:
    floor = Floor()
    floor.submit("first", input_root="A", invocation="one")
    floor.submit("warm", input_root="A", invocation="one")
    floor.submit("cold", input_root="B", invocation="two")
    assert floor.order() == ["first", "cold", "warm"]


def test_a_job_is_passed_over_for_warm_ones_a_bounded_number_of_times() -> None:
    floor = Floor()
    floor.submit("first", input_root="A")
    floor.submit("cold", input_root="B")
    for _ in range(2 * MAX_PASSES):
        floor.submit("warm", input_root="A")
    assert floor.order().index("cold") == MAX_PASSES + 1


def test_twenty_thousand_jobs_of_as_many_invocations_run() -> None:
    floor = Floor(Limits(max_queued=20_000))
    for number in range(20_000):
        floor.submit("job", invocation=str(number), priority=number % 3)
    assert len(floor.order()) == 20_000
    assert floor.queue.idle
