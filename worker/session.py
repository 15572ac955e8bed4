"""A worker at work: leases in, results out."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from google.rpc.code_pb2 import Code

from cas.digest import Digest
from cas.wire import FROM_WIRE, digest_from
from determinism.canonical import Extent, Selection
from determinism.text_rules import TextRule
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_client.status import Refused, to_status
from worker.executor import Executor, Task, Unfinished
from worker.link import Link
from worker.live import follower

log = logging.getLogger(__name__)

EXTENTS = {
    worker_pb2.Canonicalise.NOTHING: Extent.NOTHING,
    worker_pb2.Canonicalise.LEARNED: Extent.LEARNED,
    worker_pb2.Canonicalise.EVERYTHING: Extent.EVERYTHING,
}


async def work(
    link: Link, executor: Executor, *, slots: int, drain: asyncio.Event | None = None
) -> None:
    """Run what is leased to this worker, at most `slots` actions at one time.

    drain: once it is set, the scheduler is told to lease nothing more, and this returns when the
    actions that are running have ended.
    Raises ConnectionError when the link ends. When it ends in any way, so have all actions.
    """
    session = _Session(link, executor, slots)
    try:
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(session.receive(tasks))
            if drain is not None:
                draining = tasks.create_task(session.drain(drain, receiving))
                receiving.add_done_callback(lambda _: draining.cancel())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


class _Session:
    def __init__(self, link: Link, executor: Executor, slots: int) -> None:
        self._link = link
        self._executor = executor
        self._free = asyncio.Semaphore(slots)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def receive(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            message = await self._link.receive()
            match message.WhichOneof("message"):
                case "lease":
                    lease = message.lease
                    self._idle.clear()
                    running = tasks.create_task(self._run(lease))
                    self._running[lease.id] = running
                    running.add_done_callback(partial(self._end, lease.id))
                case "cancel":
                    if message.cancel.lease in self._running:
                        self._running[message.cancel.lease].cancel()
                case _:
                    log.warning("a message of an unknown kind came from the scheduler")

    async def drain(self, wanted: asyncio.Event, receiving: asyncio.Task[None]) -> None:
        await wanted.wait()
        await self._link.send(worker_pb2.FromWorker(draining=worker_pb2.Draining()))
        await self._idle.wait()
        receiving.cancel()

    def _end(self, lease: str, _: asyncio.Task[None]) -> None:
        del self._running[lease]
        if not self._running:
            self._idle.set()

    async def _run(self, lease: worker_pb2.Lease) -> None:
        async with self._free:
            finished = await self._execute(lease)
        await self._link.send(worker_pb2.FromWorker(finished=finished))

    async def _execute(self, lease: worker_pb2.Lease) -> worker_pb2.Finished:
        try:
            follow = follower(self._link, lease.id) if lease.live_output else None
            executed = await self._executor.execute(_task(lease), follow)
        except Exception as error:  # noqa: BLE001 - whatever it is, its client is to be told
            return worker_pb2.Finished(lease=lease.id, response=_failed(lease, error))
        return worker_pb2.Finished(
            lease=lease.id,
            response=reapi.ExecuteResponse(result=executed.result),
            report=executed.report,
        )


def _task(lease: worker_pb2.Lease) -> Task:
    action = _action(lease)
    return Task(
        instance=lease.instance_name,
        action=action,
        timeout_seconds=lease.timeout.ToNanoseconds() / 1e9,
        selection=_selection(lease),
        variation=lease.variation if lease.HasField("variation") else None,
        named=tuple(digest_from(each, action.function) for each in lease.named_digests),
    )


def _selection(lease: worker_pb2.Lease) -> Selection:
    return Selection(
        how=EXTENTS.get(lease.canonicalise, Extent.NOTHING),
        formats=frozenset(lease.formats),
        text_rules=tuple(
            TextRule(
                name=rule.name,
                pattern=rule.pattern.encode(),
                fill=rule.fill.encode(),
                outputs=rule.outputs or "*",
                mnemonic=rule.mnemonic,
            )
            for rule in lease.text_rules
        ),
        mnemonic=lease.mnemonic,
    )


def _action(lease: worker_pb2.Lease) -> Digest:
    function = FROM_WIRE.get(lease.digest_function)
    if function is None:
        raise Refused(f"digest_function {lease.digest_function} is not known to this worker")
    return digest_from(lease.action_digest, function)


def _failed(lease: worker_pb2.Lease, error: Exception) -> reapi.ExecuteResponse:
    """Say what went wrong, and give what there is of a result: a time-out has its output.

    Source: remote_execution.proto, ExecuteResponse.status.
    """
    response = reapi.ExecuteResponse(status=to_status(error))
    if isinstance(error, Unfinished):
        response.result.CopyFrom(error.result)
    if response.status.code == Code.INTERNAL:
        log.error("action %s failed", lease.action_digest.hash, exc_info=error)
    return response
