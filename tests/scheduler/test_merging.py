"""Which requests one execution answers, and what becomes of it as they come and go."""

from __future__ import annotations

import pytest

from scheduler.job import JobState
from scheduler.limits import Limits
from scheduler.queue import Effects, Queue
from scheduler.request import Request, Rewriting
from tests.scheduler.asking import request, submit, worker

NOTHING = Effects()


def test_identical_actions_in_flight_run_once() -> None:
    queue = Queue(Limits())
    first = submit(queue, "1", request())
    assert submit(queue, "2", request()) is first
    queue.attach(worker(), now=0)
    assert submit(queue, "3", request()) is first
    queue.finish(first, now=0)
    assert submit(queue, "4", request()) is first
    queue.settled(first)
    assert list(first.waiters) == ["1", "2", "3", "4"]
    assert submit(queue, "5", request()) is not first


@pytest.mark.parametrize(
    "other",
    [
        request("b"),
        request(instance="other"),
        request(rewriting=Rewriting()),
        request(fresh=True),
        request(mergeable=False),
    ],
)
def test_requests_that_differ_are_not_merged(other: Request) -> None:
    queue = Queue(Limits())
    assert submit(queue, "1", request()) is not submit(queue, "2", other)


def test_actions_that_must_not_be_cached_are_not_merged() -> None:
    # REAPI rule: do_not_cache forbids in-flight merging.
    queue = Queue(Limits())
    asked = request(mergeable=False)
    assert submit(queue, "1", asked) is not submit(queue, "2", asked)


def test_a_fresh_request_merges_only_with_an_execution_that_has_not_begun() -> None:
    # REAPI rule: skip_cache_lookup may be merged only with executions begun after the request.
    queue = Queue(Limits())
    first = submit(queue, "1", request(fresh=True))
    assert submit(queue, "2", request(fresh=True)) is first
    queue.attach(worker(), now=0)
    later = submit(queue, "3", request(fresh=True))
    assert later is not first
    queue.finish(first, now=0)
    queue.settled(first)
    assert later.state is JobState.RUNNING
    assert submit(queue, "4", request(fresh=True)) is not later


def test_a_fresh_job_that_must_run_again_may_be_joined_again() -> None:
    queue = Queue(Limits())
    taker = worker()
    first = submit(queue, "1", request(fresh=True))
    queue.attach(taker, now=0)
    queue.detach(taker, now=0)
    assert submit(queue, "2", request(fresh=True)) is first


def test_two_fresh_jobs_of_one_action_may_wait_after_a_loss() -> None:
    queue = Queue(Limits())
    taker = worker()
    first = submit(queue, "1", request(fresh=True))
    queue.attach(taker, now=0)
    second = submit(queue, "2", request(fresh=True))
    queue.detach(taker, now=0)
    assert submit(queue, "3", request(fresh=True)) is second
    queue.attach(worker(slots=2), now=0)
    assert first.state is second.state is JobState.RUNNING


def test_a_merged_job_is_as_urgent_as_its_most_urgent_waiter() -> None:
    queue = Queue(Limits())
    merged = submit(queue, "1", request("merged", priority=5))
    other = submit(queue, "2", request("other", priority=3))
    submit(queue, "3", request("merged", priority=1, invocation="two"))
    assert merged.place == (1, "two")
    queue.attach(worker(), now=0)
    assert (merged.state, other.state) == (JobState.RUNNING, JobState.QUEUED)


def test_a_merged_job_falls_back_when_its_most_urgent_waiter_leaves() -> None:
    queue = Queue(Limits())
    merged = submit(queue, "1", request("merged", priority=5))
    other = submit(queue, "2", request("other", priority=3))
    submit(queue, "3", request("merged", priority=1))
    queue.cancel("3", now=0)
    queue.attach(worker(), now=0)
    assert (merged.state, other.state) == (JobState.QUEUED, JobState.RUNNING)


# Cancelling


def test_cancelling_one_waiter_leaves_the_others() -> None:
    # REAPI rule: operations are per waiter; cancelling one must not end what others wait for.
    queue = Queue(Limits())
    job = submit(queue, "1", request())
    submit(queue, "2", request())
    queue.attach(worker(), now=0)
    assert queue.cancel("1", now=0) == NOTHING
    assert job.state is JobState.RUNNING
    assert list(job.waiters) == ["2"]


def test_the_last_waiters_cancel_drops_a_queued_job() -> None:
    queue = Queue(Limits())
    job = submit(queue, "1", request())
    assert queue.cancel("1", now=0) == NOTHING
    assert job.state is JobState.DONE
    assert queue.idle
    assert queue.depths() == {}
    assert queue.attach(worker(), now=0) == NOTHING


def test_the_last_waiters_cancel_stops_a_running_job_and_frees_its_slot() -> None:
    queue = Queue(Limits())
    taker = worker()
    queue.attach(taker, now=0)
    job = submit(queue, "1", request("a"))
    following = submit(queue, "2", request("b"))
    assert queue.cancel("1", now=0) == Effects(stopped=[(taker, job)], started=[following])
    assert submit(queue, "3", request("a")) is not job


def test_a_result_that_is_being_settled_is_settled_though_nobody_waits() -> None:
    queue = Queue(Limits())
    queue.attach(worker(), now=0)
    job = submit(queue, "1", request())
    queue.finish(job, now=0)
    assert queue.cancel("1", now=0) == NOTHING
    assert not queue.idle
    assert submit(queue, "2", request()) is job
    queue.settled(job)
    assert list(job.waiters) == ["2"]
    assert queue.idle
