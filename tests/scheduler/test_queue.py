"""The rules of the decision core, one by one. Time is a number that the tests name."""

from __future__ import annotations

import pytest

from scheduler.job import JobState
from scheduler.limits import Limits
from scheduler.queue import Draining, Effects, End, Queue, QueueFull
from tests.scheduler.asking import LINUX, MAC, request, submit, worker

NOTHING = Effects()


# Platforms


def test_a_job_runs_only_where_its_platform_is_served() -> None:
    queue = Queue(Limits())
    job = submit(queue, "1", request(platform=MAC))
    assert queue.attach(worker("linux"), now=0) == NOTHING
    mac = worker("mac", platform=MAC)
    assert queue.attach(mac, now=0) == Effects(started=[job])
    assert job.worker is mac


def test_a_worker_is_never_given_more_than_its_slots() -> None:
    queue = Queue(Limits())
    taker = worker(slots=2)
    queue.attach(taker, now=0)
    jobs = [submit(queue, str(n), request(str(n))) for n in range(3)]
    assert [job.state for job in jobs] == [JobState.RUNNING, JobState.RUNNING, JobState.QUEUED]
    assert queue.finish(jobs[0], now=0) == Effects(started=[jobs[2]])
    assert (taker.busy, taker.free) == (2, 0)


def test_depths_count_what_waits_by_platform() -> None:
    queue = Queue(Limits())
    for number in range(3):
        submit(queue, f"l{number}", request(str(number)))
    submit(queue, "m", request(platform=MAC))
    assert queue.depths() == {LINUX: 3, MAC: 1}
    queue.attach(worker(slots=9), now=0)
    assert queue.depths() == {MAC: 1}
    assert queue.running == 3


# Lost workers


def test_a_lost_workers_action_runs_again_on_another() -> None:
    queue = Queue(Limits(max_attempts=2))
    lost, other = worker("lost"), worker("other")
    queue.attach(lost, now=0)
    job = submit(queue, "1", request())
    queue.attach(other, now=0)
    assert queue.detach(lost, now=0) == Effects(requeued=[job], started=[job])
    assert job.worker is other


def test_a_lost_workers_actions_come_before_younger_ones() -> None:
    queue = Queue(Limits())
    lost = worker("lost", slots=2)
    queue.attach(lost, now=0)
    old = [submit(queue, str(n), request(str(n))) for n in range(2)]
    young = submit(queue, "young", request("young"), now=1)
    assert queue.detach(lost, now=2) == Effects(requeued=old)
    assert queue.attach(worker(slots=3), now=3) == Effects(started=[*old, young])


def test_an_action_is_given_to_no_more_workers_than_may_be_tried() -> None:
    queue = Queue(Limits(max_attempts=3))
    job = submit(queue, "1", request())
    for _ in range(2):
        taker = worker()
        assert queue.attach(taker, now=0) == Effects(started=[job])
        assert queue.detach(taker, now=0) == Effects(requeued=[job])
    queue.attach(taker := worker(), now=0)
    assert queue.detach(taker, now=0) == Effects(ended=[(job, End.LOST)])
    assert job.attempts == 3
    assert queue.idle


def test_a_lost_workers_jobs_fill_the_free_slots_of_all_platforms() -> None:
    queue = Queue(Limits())
    both = worker("both", slots=2, platform=LINUX + MAC)
    queue.attach(both, now=0)
    jobs = [submit(queue, str(n), request(str(n), platform=p)) for n, p in enumerate([LINUX, MAC])]
    queue.attach(worker("mac", platform=MAC), now=0)
    queue.attach(worker("also both", platform=LINUX + MAC), now=0)
    effects = queue.detach(both, now=0)
    assert effects.requeued == jobs
    assert {job.required: job.worker and job.worker.name for job in effects.started} == {
        LINUX: "also both",
        MAC: "mac",
    }


def test_a_draining_worker_finishes_and_takes_no_more() -> None:
    queue = Queue(Limits())
    taker = worker(slots=2)
    queue.attach(taker, now=0)
    job = submit(queue, "1", request("1"))
    queue.retire(taker, now=0)
    waiting = submit(queue, "2", request("2"))
    assert queue.finish(job, now=0) == NOTHING
    queue.settled(job)
    assert waiting.state is JobState.QUEUED
    assert queue.detach(taker, now=0) == NOTHING
    assert len(queue.workers) == 0


# Bounds


def test_a_full_queue_refuses_before_anything_is_changed() -> None:
    queue = Queue(Limits(max_queued=2))
    for name in "12":
        submit(queue, name, request(name))
    with pytest.raises(QueueFull, match=r"2 actions wait already.*execution\.max_queued"):
        submit(queue, "3", request("3"))
    assert queue.depths() == {LINUX: 2}
    queue.cancel("1", now=0)
    submit(queue, "3", request("3"))


def test_a_full_queue_still_takes_what_can_start_at_once() -> None:
    queue = Queue(Limits(max_queued=1))
    submit(queue, "1", request(platform=MAC))
    queue.attach(worker(), now=0)
    assert submit(queue, "2", request("b")).state is JobState.RUNNING


def test_a_full_queue_still_merges_up_to_the_same_bound() -> None:
    queue = Queue(Limits(max_queued=2))
    for name in "12":
        submit(queue, name, request(name))
    for name in "34":
        submit(queue, name, request("1"))
    with pytest.raises(QueueFull):
        submit(queue, "5", request("2"))
    queue.cancel("3", now=0)
    submit(queue, "5", request("2"))


# Expiry


def test_a_queued_job_that_nobody_watches_is_dropped() -> None:
    queue = Queue(Limits(abandoned_seconds=10, no_worker_seconds=1000))
    job = submit(queue, "1", request(), now=0)
    assert queue.expire(now=9) == NOTHING
    queue.watch("1")
    assert queue.expire(now=100) == NOTHING
    queue.unwatch("1", now=100)
    assert queue.expire(now=109) == NOTHING
    assert queue.expire(now=110) == Effects(abandoned=["1"])
    assert job.state is JobState.DONE
    assert queue.idle


def test_an_unwatched_waiter_does_not_take_the_watched_ones_with_it() -> None:
    queue = Queue(Limits(abandoned_seconds=10, no_worker_seconds=1000))
    job = submit(queue, "1", request())
    submit(queue, "2", request())
    queue.watch("2")
    assert queue.expire(now=10) == Effects(abandoned=["1"])
    assert list(job.waiters) == ["2"]


def test_a_running_job_goes_on_unwatched() -> None:
    # An execution outlives its client's connection.
    queue = Queue(Limits(abandoned_seconds=10))
    queue.attach(worker(), now=0)
    job = submit(queue, "1", request())
    queue.watch("1")
    queue.unwatch("1", now=1)
    assert queue.expire(now=1000) == NOTHING
    assert job.state is JobState.RUNNING


def test_a_job_that_waits_again_gets_its_whole_time_to_be_watched() -> None:
    queue = Queue(Limits(abandoned_seconds=10, no_worker_seconds=1000))
    taker = worker()
    queue.attach(taker, now=0)
    submit(queue, "1", request())
    assert queue.expire(now=100) == NOTHING
    queue.detach(taker, now=100)
    assert queue.expire(now=109) == NOTHING
    assert queue.expire(now=110) == Effects(abandoned=["1"])


def test_a_platform_that_no_worker_serves_ends_its_jobs() -> None:
    # REAPI rule: an action whose platform properties are unknown is refused, not queued for ever.
    queue = Queue(Limits(no_worker_seconds=10))
    queue.attach(worker(), now=0)
    job = submit(queue, "1", request(platform=MAC), now=0)
    younger = submit(queue, "2", request("b", platform=MAC), now=5)
    for name in "12":
        queue.watch(name)
    assert queue.expire(now=9) == NOTHING
    assert queue.expire(now=10) == Effects(ended=[(job, End.UNSERVED)])
    assert queue.expire(now=15) == Effects(ended=[(younger, End.UNSERVED)])


def test_a_worker_that_comes_in_time_saves_what_waits_for_its_platform() -> None:
    queue = Queue(Limits(no_worker_seconds=10))
    jobs = [submit(queue, name, request(name)) for name in "12"]
    for name in "12":
        queue.watch(name)
    taker = worker()
    queue.attach(taker, now=9)
    assert queue.expire(now=1000) == NOTHING
    queue.retire(taker, now=1000)
    assert queue.expire(now=1009) == NOTHING
    assert queue.expire(now=1010) == Effects(ended=[(jobs[1], End.UNSERVED)])


def test_the_loss_of_one_of_two_workers_leaves_the_platform_served() -> None:
    queue = Queue(Limits(no_worker_seconds=10))
    one, two = worker("one"), worker("two")
    queue.attach(one, now=0)
    queue.attach(two, now=0)
    for name in "123":
        submit(queue, name, request(name))
        queue.watch(name)
    queue.retire(one, now=0)
    assert queue.expire(now=1000) == NOTHING


def test_a_platform_is_unserved_from_when_its_last_worker_leaves() -> None:
    queue = Queue(Limits(no_worker_seconds=10))
    wide, narrow = worker("wide", platform=LINUX + MAC), worker("narrow")
    queue.attach(wide, now=0)
    queue.attach(narrow, now=0)
    *_, job = [submit(queue, name, request(name)) for name in "123"]
    for name in "123":
        queue.watch(name)
    queue.retire(wide, now=0)
    assert queue.expire(now=1000) == NOTHING
    queue.attach(worker("other", platform=MAC), now=1000)
    queue.retire(narrow, now=1000)
    assert queue.expire(now=1009) == NOTHING
    assert queue.expire(now=1010) == Effects(ended=[(job, End.UNSERVED)])


# Draining


def test_a_closed_queue_ends_what_waits_and_lets_run_what_runs() -> None:
    queue = Queue(Limits())
    taker = worker()
    queue.attach(taker, now=0)
    running = submit(queue, "1", request("1"))
    waiting = submit(queue, "2", request("2"))
    assert queue.close() == Effects(ended=[(waiting, End.DRAINED)])
    with pytest.raises(Draining, match="the server is stopping"):
        submit(queue, "3", request("3"))
    with pytest.raises(Draining):
        submit(queue, "4", request("1"))
    assert queue.finish(running, now=0) == NOTHING
    queue.settled(running)
    assert queue.idle


def test_a_closed_queue_does_not_run_a_lost_action_again() -> None:
    queue = Queue(Limits())
    taker = worker()
    queue.attach(taker, now=0)
    queue.attach(worker("other"), now=0)
    job = submit(queue, "1", request())
    queue.close()
    assert job.worker is not None
    assert queue.detach(job.worker, now=0) == Effects(ended=[(job, End.DRAINED)])
