"""Which workers have which inputs already, and which jobs would gain by that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from cas.digest import Digest
from scheduler.heap import Heap
from scheduler.job import Job, Worker

WARM_ROOTS = 64  # input roots remembered of each worker, those of its last actions


class Warmth:
    """The input roots that each worker had last."""

    def __init__(self) -> None:
        self._roots: dict[Worker, OrderedDict[Digest, None]] = {}
        self._workers: dict[Digest, dict[Worker, None]] = {}

    def note(self, worker: Worker, root: Digest) -> None:
        """Remember that `worker` has `root` now."""
        roots = self._roots.setdefault(worker, OrderedDict())
        roots[root] = None
        roots.move_to_end(root)
        self._workers.setdefault(root, {})[worker] = None
        if len(roots) > WARM_ROOTS:
            oldest, _ = roots.popitem(last=False)
            self._forget(worker, oldest)

    def forget(self, worker: Worker) -> None:
        """Drop what is known of a worker that is gone."""
        for root in self._roots.pop(worker, ()):
            self._forget(worker, root)

    def roots(self, worker: Worker) -> Collection[Digest]:
        """Return what `worker` has, the oldest first."""
        return self._roots.get(worker, ())

    def workers(self, root: Digest) -> Iterable[Worker]:
        """Return who has `root`."""
        return self._workers.get(root, ())

    def _forget(self, worker: Worker, root: Digest) -> None:
        workers = self._workers[root]
        del workers[worker]
        if not workers:
            del self._workers[root]


class Roots:
    """Waiting jobs by input root."""

    __slots__ = ("_jobs",)

    def __init__(self) -> None:
        self._jobs: dict[Digest, Heap[Job]] = {}

    def add(self, job: Job) -> None:
        if (root := job.request.input_root) is not None:
            self._jobs.setdefault(root, Heap()).put(job, job.number)

    def discard(self, job: Job) -> None:
        root = job.request.input_root
        if root is None or root not in self._jobs:
            return
        self._jobs[root].discard(job)
        if not self._jobs[root]:
            del self._jobs[root]

    def warm(self, roots: Collection[Digest]) -> Job | None:
        """Return a job that one of `roots` helps; of equal roots the oldest job.

        Costs as many look-ups as the smaller of the two sides has entries, at most WARM_ROOTS.
        """
        few, many = (self._jobs, roots) if len(self._jobs) < len(roots) else (roots, self._jobs)
        root = next((root for root in few if root in many), None)
        return None if root is None else self._jobs[root].first()
