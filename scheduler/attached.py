"""One connected worker, in the words of its stream."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex

from google.rpc.code_pb2 import Code

from cas.wire import TO_WIRE, digest_to
from protos import remote_execution_pb2 as reapi, worker_pb2
from scheduler.job import Job, Worker
from scheduler.platform import Platform

log = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000


class InvalidOffer(ValueError):
    """What a worker says about itself at first cannot be."""


def worker_from(offer: worker_pb2.Offer) -> Worker:
    """Check what a worker says about itself; raise InvalidOffer."""
    if not offer.name:
        raise InvalidOffer("offer.name is empty: a worker needs a name")
    if offer.slots < 1:
        raise InvalidOffer(f"offer.slots is {offer.slots}: a worker runs at least 1 action")
    platform = Platform.of((pair.name, pair.value) for pair in offer.platform.properties)
    return Worker(offer.name, platform, offer.slots, offer.toolchain)


@dataclass(frozen=True, slots=True)
class Ran:
    """How and where an action was run. toolchain: digest of the tools that it saw, or ""."""

    worker: str
    toolchain: str
    report: worker_pb2.Report


class Attached:
    """A worker's side of the scheduler: what it is to do, and what it says.

    finished: told of each of its leases that ends, with the worker's response (a copy), and how it
    was run.
    draining: told when it wants no more leases.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        finished: Callable[[Job, reapi.ExecuteResponse, Ran], object],
        draining: Callable[[Worker], object],
    ) -> None:
        self._worker = worker
        self._finished = finished
        self._draining = draining
        self._jobs: dict[str, Job] = {}
        self._leases: dict[Job, str] = {}
        self._outbox: OrderedDict[str, worker_pb2.ToWorker] = OrderedDict()
        self._woken = asyncio.Event()

    async def receive(self) -> worker_pb2.ToWorker:
        """Wait for the next message to the worker. It may be cancelled; nothing is lost then."""
        while not self._outbox:
            self._woken.clear()
            await self._woken.wait()
        return self._outbox.popitem(last=False)[1]

    async def send(self, message: worker_pb2.FromWorker) -> None:
        """Take a message from the worker. One that makes no sense is noted and changes nothing."""
        match message.WhichOneof("message"):
            case "finished":
                self._finish(message.finished)
            case "output":
                self._take(message.output)
            case "draining":
                self._draining(self._worker)
            case "offer":
                log.warning("worker %s made a second offer: ignored", self._worker.name)
            case None:
                log.warning("worker %s sent a message of no known kind", self._worker.name)

    def lease(self, job: Job) -> None:
        """Give the worker a job."""
        request = job.request
        lease = worker_pb2.Lease(
            id=token_hex(8),  # not a number: a worker may outlive the server that counted it
            instance_name=request.instance,
            action_digest=digest_to(request.action),
            digest_function=TO_WIRE[request.action.function],
            canonicalise=request.rewriting.extent,
            formats=request.rewriting.formats,
            mnemonic=request.mnemonic,
            variation=request.variation,
            live_output=job.output is not None,
        )
        for rule in request.rewriting.text_rules:
            lease.text_rules.add(**rule._asdict())
        for named in request.named:
            lease.named_digests.append(digest_to(named))
        lease.timeout.FromNanoseconds(round(request.timeout_seconds * NANOSECONDS))
        self._jobs[lease.id] = job
        self._leases[job] = lease.id
        self._put(lease.id, worker_pb2.ToWorker(lease=lease))

    def stop(self, job: Job) -> None:
        """Take a job back. The worker hears of it unless it has not seen the lease yet."""
        lease = self._leases.pop(job)
        del self._jobs[lease]
        if self._outbox.pop(lease, None) is None:
            self._put(lease, worker_pb2.ToWorker(cancel=worker_pb2.Cancel(lease=lease)))

    def forget(self) -> None:
        """Let none of the leases count any more: the worker is gone."""
        self._jobs.clear()
        self._leases.clear()
        self._outbox.clear()

    def _put(self, lease: str, message: worker_pb2.ToWorker) -> None:
        self._outbox[lease] = message
        self._woken.set()

    def _take(self, message: worker_pb2.Output) -> None:
        job = self._jobs.get(message.lease)
        if job is not None and job.output is not None:  # else cancelled just before
            job.output.add(message)

    def _finish(self, message: worker_pb2.Finished) -> None:
        job = self._jobs.pop(message.lease, None)
        if job is None:  # cancelled just before, mostly
            log.info("worker %s ended an unknown lease: ignored", self._worker.name)
            return
        del self._leases[job]
        self._outbox.pop(message.lease, None)
        response = reapi.ExecuteResponse()
        response.CopyFrom(message.response)
        self._complete(job, response)
        report = worker_pb2.Report()
        report.CopyFrom(message.report)
        self._finished(job, response, Ran(self._worker.name, self._worker.toolchain, report))

    def _complete(self, job: Job, response: reapi.ExecuteResponse) -> None:
        """Add what the server knows and clients rely on."""
        if response.HasField("result"):
            metadata = response.result.execution_metadata
            metadata.worker = metadata.worker or self._worker.name
            metadata.queued_timestamp.FromNanoseconds(round(job.queued_wall * NANOSECONDS))
        elif response.status.code == Code.OK:
            response.status.code = Code.INTERNAL
            response.status.message = (
                f"worker {self._worker.name} ended the action with neither a result nor an error"
            )
