from __future__ import annotations

from cas.digest import Digest
from scheduler.affinity import WARM_ROOTS, Warmth
from scheduler.limits import Limits
from scheduler.queue import Queue
from tests.scheduler.asking import MAC, request, worker


def run(queue: Queue, name: str, input_root: str | None) -> str:
    """Run one action in no time; return the name of its worker."""
    asked = request(name, input_root=input_root)
    job, effects = queue.submit(asked, name, now=0, wall=0)
    assert effects.started == [job]
    assert job.worker is not None
    ran_at = job.worker.name
    queue.finish(job, now=0)
    queue.settled(job)
    return ran_at


def test_a_job_goes_to_the_free_worker_that_has_its_inputs() -> None:
    queue = Queue(Limits())
    for name in ("u", "v", "w"):
        queue.attach(worker(name, slots=2), now=0)
    first = run(queue, "1", "A")
    second = run(queue, "2", "B")
    assert first != second
    assert run(queue, "3", "A") == first
    assert run(queue, "4", "B") == second
    assert run(queue, "5", "A") == first


def test_jobs_without_known_inputs_go_to_the_least_busy_worker() -> None:
    queue = Queue(Limits())
    queue.attach(worker("small", slots=2), now=0)
    queue.attach(worker("large", slots=4), now=0)
    jobs = [queue.submit(request(str(n)), str(n), now=0, wall=0)[0] for n in range(6)]
    names = [job.worker.name for job in jobs if job.worker]
    assert sorted(names[:3]) == ["large", "large", "small"]
    assert sorted(names) == ["large"] * 4 + ["small"] * 2


def test_a_busy_worker_with_the_inputs_is_not_waited_for() -> None:
    queue = Queue(Limits())
    queue.attach(worker("one"), now=0)
    first, _ = queue.submit(request("1", input_root="A"), "1", now=0, wall=0)
    queue.attach(worker("two"), now=0)
    second, _ = queue.submit(request("2", input_root="A"), "2", now=0, wall=0)
    assert [job.worker and job.worker.name for job in (first, second)] == ["one", "two"]


def test_a_worker_with_the_inputs_but_not_the_platform_is_not_chosen() -> None:
    queue = Queue(Limits())
    queue.attach(worker("mac", platform=MAC), now=0)
    job, _ = queue.submit(request("1", platform=MAC, input_root="A"), "1", now=0, wall=0)
    queue.finish(job, now=0)
    queue.settled(job)
    queue.attach(worker("linux"), now=0)
    assert run(queue, "2", "A") == "linux"


def test_a_worker_that_is_gone_is_forgotten() -> None:
    queue = Queue(Limits())
    gone = worker("gone")
    queue.attach(gone, now=0)
    assert run(queue, "1", "A") == "gone"
    queue.detach(gone, now=0)
    queue.attach(worker("new"), now=0)
    assert run(queue, "2", "A") == "new"


def test_only_the_last_inputs_of_a_worker_are_remembered() -> None:
    warmth, taker = Warmth(), worker()
    roots = [Digest.of(str(number).encode()) for number in range(WARM_ROOTS + 1)]
    warmth.note(taker, roots[0])
    warmth.note(taker, roots[1])
    warmth.note(taker, roots[0])
    for root in roots[2:]:
        warmth.note(taker, root)
    assert set(warmth.roots(taker)) == {*roots} - {roots[1]}
    assert list(warmth.workers(roots[1])) == []
    assert list(warmth.workers(roots[0])) == [taker]
    warmth.forget(taker)
    assert not any(list(warmth.workers(root)) for root in roots)
