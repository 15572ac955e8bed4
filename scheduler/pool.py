"""The connected workers, and which of them is best for a job."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cas.digest import Digest
from scheduler.affinity import Warmth
from scheduler.heap import Heap
from scheduler.job import Worker
from scheduler.platform import Platform, Requirement


class Pool:
    """Workers by what they offer, those with free slots at hand."""

    def __init__(self) -> None:
        self._workers: dict[Worker, None] = {}
        self._offers: dict[Platform, dict[Worker, None]] = {}  # of workers that take jobs
        self._free: dict[Platform, Heap[Worker]] = {}
        self._warmth = Warmth()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def offers(self) -> Collection[Platform]:
        """What the workers that take jobs offer, each once."""
        return self._offers.keys()

    def add(self, worker: Worker) -> None:
        self._workers[worker] = None
        self._offers.setdefault(worker.platform, {})[worker] = None
        self._free.setdefault(worker.platform, Heap())
        self._rank(worker)

    def retire(self, worker: Worker) -> None:
        """Give `worker` no more jobs."""
        worker.draining = True
        offering = self._offers.get(worker.platform, {})
        if worker not in offering:
            return
        del offering[worker]
        self._free[worker.platform].discard(worker)
        if not offering:
            del self._offers[worker.platform], self._free[worker.platform]

    def remove(self, worker: Worker) -> None:
        self.retire(worker)
        self._warmth.forget(worker)
        del self._workers[worker]

    def occupy(self, worker: Worker, root: Digest | None) -> None:
        """Take one of the worker's free slots, for a job with the input root `root`."""
        worker.busy += 1
        self._rank(worker)
        if root is not None:
            self._warmth.note(worker, root)

    def release(self, worker: Worker) -> None:
        """Give a slot back."""
        worker.busy -= 1
        self._rank(worker)

    def serves(self, required: Requirement) -> bool:
        """Whether some worker that takes jobs serves `required`."""
        return any(platform.serves(required) for platform in self._offers)

    def warm(self, worker: Worker) -> Collection[Digest]:
        """Return the input roots that `worker` has."""
        return self._warmth.roots(worker)

    def choose(self, required: Requirement, root: Digest | None) -> Worker | None:
        """Return a worker with a free slot for `required`, or None.

        One that has `root` is preferred, else the one whose slots are taken least.
        """
        able = [free for platform, free in self._free.items() if free and platform.serves(required)]
        if not able:
            return None
        if root is not None:
            for worker in self._warmth.workers(root):
                if worker.free and worker.platform.serves(required):
                    return worker
        return min(able, key=Heap.first_key).first()

    def _rank(self, worker: Worker) -> None:
        if worker.free:
            self._free[worker.platform].put(worker, worker.busy / worker.slots)
        elif worker.platform in self._free:
            self._free[worker.platform].discard(worker)
