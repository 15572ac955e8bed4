"""The scheduler: requests and workers come together here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex

from google.rpc.code_pb2 import Code

from protos import remote_execution_pb2 as reapi, worker_pb2
from scheduler.attached import Attached, Ran, worker_from
from scheduler.failure import failed
from scheduler.job import Job, JobState, Worker
from scheduler.limits import Limits
from scheduler.live import UNNAMED, LiveOutput
from scheduler.operation import Operation, State
from scheduler.platform import Platform, Requirement, listed
from scheduler.queue import Draining, Effects, End, Queue
from scheduler.register import Page, Register
from scheduler.request import Request

log = logging.getLogger(__name__)

Settle = Callable[[Request, reapi.ExecuteResponse, Ran], Awaitable[reapi.ExecuteResponse]]
OpenOutput = Callable[[Request], LiveOutput | None]
OnStart = Callable[[Requirement, float], object]

MAX_SWEEP_SECONDS = 1.0  # longest time between two looks at what has expired
SWEEPS = 4  # looks within the shortest of the times that are kept
SHOWN_OFFERS = 10  # different offers of workers named in a message

QUEUED = State(reapi.ExecutionStage.QUEUED)


@dataclass(frozen=True, slots=True)
class Connected:
    """A connected worker, as it is now. busy: slots that are taken."""

    name: str
    platform: Platform
    slots: int
    busy: int
    draining: bool
    toolchain: str


class Dispatcher:
    """Runs each request on some worker, and tells all who wait for it. Use it within `running`.

    settle: makes of a worker's response the one that is answered (caches, pins, compares). It is
        given the first of the requests that are answered; what it raises ends them with INTERNAL.
    open_output: makes the streams for what a request's action writes; None: nobody will read them.
    on_start: told of each start what was asked of the worker and how many seconds it waited.
    clock: seconds that never fall. wall: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        settle: Settle,
        limits: Limits,
        open_output: OpenOutput = lambda request: None,
        on_start: OnStart = lambda required, waited_seconds: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settle = settle
        self._limits = limits
        self._open_output = open_output
        self._on_start = on_start
        self._clock = clock
        self._wall = wall
        self._queue = Queue(limits)
        self._register = Register(limits)
        self._waiting: dict[str, Operation] = {}
        self._attached: dict[Worker, Attached] = {}
        self._numbered = 0
        self._idle = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take workers and expire what is old until the block ends.

        Results that workers have delivered by then are settled before it does.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            sweeps = tasks.create_task(self._sweep_for_ever())
            yield
            sweeps.cancel()

    # Clients

    def execute(self, request: Request) -> Operation:
        """Queue `request`, or let it wait for an execution that answers it, too.

        Raises QueueFull or Draining; nothing has changed then.
        """
        operation = self._operation(request)
        job, effects = self._queue.submit(
            request, operation.name, now=self._clock(), wall=operation.queued_at
        )
        self._register.add(operation)
        self._waiting[operation.name] = operation
        if job not in effects.started and job.state is not JobState.QUEUED:
            operation.publish(_executing(job), operation.queued_at)
        self._apply(effects)
        return operation

    def completed(self, request: Request, response: reapi.ExecuteResponse) -> Operation:
        """Return an operation that is done, for a request that needs no execution."""
        operation = self._operation(request)
        self._register.add(operation)
        self._publish_end(operation, response)
        return operation

    def find(self, name: str) -> Operation:
        """Return the operation; raise OperationNotFound."""
        return self._register.find(name)

    def list(self, *, instance: str | None = None, page_size: int = 0, token: str = "") -> Page:
        """Return operations in the order of their requests; raise InvalidPageToken.

        instance: of this instance name only; None: of all.
        page_size: at most as many; 0: as many as the server likes. token: "" for the first page.
        """
        return self._register.page(instance=instance, page_size=page_size, token=token)

    def cancel(self, name: str) -> None:
        """End the operation with CANCELLED, if it is not done; raise OperationNotFound.

        Others that wait for the same execution go on; it is stopped when nobody waits any more.
        """
        operation = self._register.find(name)
        if self._waiting.pop(name, None) is None:
            return
        effects = self._queue.cancel(name, now=self._clock())
        self._publish_end(operation, failed(Code.CANCELLED, "cancelled by a client"))
        self._apply(effects)

    def delete(self, name: str) -> None:
        """Forget the operation, without a halt to it; raise OperationNotFound.

        Who watches it goes on to do so.
        """
        self._register.delete(name)

    # Workers

    @asynccontextmanager
    async def attach(self, offer: worker_pb2.Offer) -> AsyncIterator[Attached]:
        """Give leases to a worker until the block ends, which is when the worker is gone.

        What it has not finished then is taken back and given to others. Raises InvalidOffer.
        """
        worker = worker_from(offer)
        attached = Attached(worker, finished=self._finished, draining=self._retire)
        self._attached[worker] = attached
        log.info("worker %s connected: slots=%d, %s", worker.name, worker.slots, worker.platform)
        self._apply(self._queue.attach(worker, now=self._clock()))
        try:
            yield attached
        finally:
            log.info("worker %s is gone; actions taken back: %d", worker.name, worker.busy)
            self._attached.pop(worker).forget()
            self._apply(self._queue.detach(worker, now=self._clock()))

    async def drain(self) -> None:
        """Begin nothing more, and wait until nothing runs. `execute` raises Draining from now on.

        What is queued ends with UNAVAILABLE, so that clients try again elsewhere.
        """
        self._apply(self._queue.close())
        while not self._queue.idle:
            self._idle.clear()
            await self._idle.wait()

    def sweep(self) -> None:
        """Expire what is old now. Within `running` this is done again and again."""
        now = self._clock()
        self._apply(self._queue.expire(now=now))
        self._register.expire(now)

    # What there is to see

    def depths(self) -> dict[Requirement, int]:
        """Count the actions that wait, by what they ask of a worker, where any do."""
        return self._queue.depths()

    @property
    def spare(self) -> bool:
        """Whether nothing waits, and some worker has a free slot."""
        return not self._queue.depths() and any(each.free for each in self._queue.workers)

    @property
    def executing(self) -> int:
        """Count the actions that workers run."""
        return self._queue.running

    def workers(self) -> tuple[Connected, ...]:
        """Return the connected workers, in the order in which they came."""
        return tuple(
            Connected(
                worker.name,
                worker.platform,
                worker.slots,
                worker.busy,
                worker.draining,
                worker.toolchain,
            )
            for worker in self._queue.workers
        )

    # How it is done

    def _operation(self, request: Request) -> Operation:
        self._numbered += 1
        name = token_hex(16)
        return Operation(
            name,
            self._numbered,
            request,
            queued_at=self._wall(),
            on_watched=lambda watched: self._watched(name, watched=watched),
        )

    def _watched(self, name: str, *, watched: bool) -> None:
        if watched:
            self._queue.watch(name)
        else:
            self._queue.unwatch(name, now=self._clock())

    def _apply(self, effects: Effects) -> None:
        """Do what the queue has decided."""
        for job in effects.requeued:
            _cut_output(job)
            self._publish(job, QUEUED)
        for worker, job in effects.stopped:
            _cut_output(job)
            self._attached[worker].stop(job)
        for job in effects.started:
            assert job.worker is not None
            job.output = self._open_output(job.request)
            self._attached[job.worker].lease(job)
            self._publish(job, _executing(job))
            self._on_start(job.required, self._clock() - job.waiting_since)
        for job, end in effects.ended:
            _cut_output(job)
            self._end(job, self._why(job, end))
        for name in effects.abandoned:
            operation = self._waiting.pop(name)
            self._publish_end(operation, failed(Code.CANCELLED, "no client waited for it"))
            self._register.discard(name)
        if self._queue.idle:
            self._idle.set()

    def _publish(self, job: Job, state: State) -> None:
        now = self._wall()
        for name in job.waiters:
            self._waiting[name].publish(state, now)

    def _publish_end(self, operation: Operation, response: reapi.ExecuteResponse) -> None:
        streams = operation.state.streams
        state = State(reapi.ExecutionStage.COMPLETED, response, streams=streams)
        operation.publish(state, self._wall())
        self._register.finished(operation, self._clock())

    def _end(self, job: Job, response: reapi.ExecuteResponse) -> None:
        """Answer all who wait for a job that the queue has let go of."""
        for name in job.waiters:
            self._publish_end(self._waiting.pop(name), response)

    def _retire(self, worker: Worker) -> None:
        log.info("worker %s takes no more actions", worker.name)
        self._queue.retire(worker, now=self._clock())

    def _finished(self, job: Job, response: reapi.ExecuteResponse, ran: Ran) -> None:
        # In a task: what is settled must not be lost with the worker's stream, nor hold it up.
        assert self._tasks is not None, "a worker is attached outside of running()"
        if job.output is not None:
            self._tasks.create_task(job.output.complete(response.result))
        self._tasks.create_task(self._settled(job, response, ran))
        self._apply(self._queue.finish(job, now=self._clock()))

    async def _settled(self, job: Job, response: reapi.ExecuteResponse, ran: Ran) -> None:
        try:
            settled = await self._settle(job.request, response, ran)
        except Exception as error:
            log.exception("the result of action %s could not be settled", job.request.action)
            settled = failed(Code.INTERNAL, f"the result could not be settled: {error!r}")
        self._queue.settled(job)
        self._end(job, settled)
        if self._queue.idle:
            self._idle.set()

    def _why(self, job: Job, end: End) -> reapi.ExecuteResponse:
        """Say to clients why a job ended without a result."""
        match end:
            case End.LOST:
                message = (
                    f"{job.attempts} workers were lost while they ran the action; "
                    "it may be the cause: see their logs"
                )
                log.warning("action %s: %s", job.request.action, message)
                return failed(Code.UNAVAILABLE, message)
            case End.DRAINED:
                return failed(Code.UNAVAILABLE, str(Draining()))
            case End.UNSERVED:
                offers = " | ".join(sorted(map(str, self._queue.workers.offers))[:SHOWN_OFFERS])
                message = (
                    f"no worker serves the action's platform ({listed(job.required)}); "
                    f"connected workers offer: {offers or 'none is connected'}"
                )
                log.warning("action %s: %s", job.request.action, message)
                return failed(Code.FAILED_PRECONDITION, message)

    async def _sweep_for_ever(self) -> None:
        limits = self._limits
        shortest = min(
            limits.keep_finished_seconds, limits.abandoned_seconds, limits.no_worker_seconds
        )
        while True:
            await asyncio.sleep(min(MAX_SWEEP_SECONDS, shortest / SWEEPS))
            self.sweep()


def _executing(job: Job) -> State:
    """Say that a job is with a worker, or just was and is being settled."""
    worker = job.worker.name if job.worker else ""
    streams = job.output.names if job.output else UNNAMED
    return State(reapi.ExecutionStage.EXECUTING, worker=worker, streams=streams)


def _cut_output(job: Job) -> None:
    """End the streams of an attempt that comes to nothing: the next one has its own."""
    if job.output is not None:
        job.output.cut()
        job.output = None
