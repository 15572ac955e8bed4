from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import PreconditionFailure

from cas.digest import Digest
from cas.wire import TO_WIRE, digest_to
from protos import worker_pb2
from tests.worker.processes import sleepers
from tests.worker.site import Site
from worker.session import work

GONE = worker_pb2.ToWorker()


class Queues:
    """A link whose other end is the test."""

    def __init__(self) -> None:
        self.to_worker: asyncio.Queue[worker_pb2.ToWorker] = asyncio.Queue()
        self.from_worker: asyncio.Queue[worker_pb2.FromWorker] = asyncio.Queue()

    async def receive(self) -> worker_pb2.ToWorker:
        message = await self.to_worker.get()
        if message is GONE:
            raise ConnectionError("the scheduler is gone")
        return message

    async def send(self, message: worker_pb2.FromWorker, /) -> None:
        await self.from_worker.put(message)

    def lease(self, id: str, action: Digest, *, seconds: int = 60) -> None:
        lease = worker_pb2.Lease(
            id=id, action_digest=digest_to(action), digest_function=TO_WIRE[action.function]
        )
        lease.timeout.FromSeconds(seconds)
        self.to_worker.put_nowait(worker_pb2.ToWorker(lease=lease))

    def cancel(self, id: str) -> None:
        cancel = worker_pb2.Cancel(lease=id)
        self.to_worker.put_nowait(worker_pb2.ToWorker(cancel=cancel))

    async def finished(self) -> worker_pb2.Finished:
        """Return the next result; what comes before it is passed over."""
        while True:
            message = await self.from_worker.get()
            if message.HasField("finished"):
                return message.finished


@asynccontextmanager
async def working(worker: Site, slots: int = 2) -> AsyncIterator[Queues]:
    link = Queues()
    session = asyncio.create_task(work(link, worker.executor, slots=slots))
    yield link
    session.cancel()
    with pytest.raises(asyncio.CancelledError):
        await session
    assert worker.left() == []


async def sleeper(worker: Site, mark: str) -> Digest:
    script = f"setsid python3 -c 'import time; time.sleep(300)' {mark}"
    return await worker.action(["/bin/sh", "-c", script])


async def started(mark: str) -> None:
    while not sleepers(mark):  # noqa: ASYNC110 - it is another process that is waited for
        await asyncio.sleep(0.05)


async def ended(mark: str) -> None:
    while sleepers(mark):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def test_a_lease_is_run_and_its_end_told(worker: Site) -> None:
    async with working(worker) as link:
        link.lease("one", await worker.action(["echo", "hello"]))
        finished = await link.finished()
        assert finished.lease == "one"
        assert not finished.response.HasField("status")
        assert await worker.stdout(finished.response.result) == "hello\n"


async def test_an_error_is_a_status_and_the_session_goes_on(worker: Site) -> None:
    # REAPI rule: errors during the execution are ExecuteResponse.status
    missing = Digest.of(b"missing")
    async with working(worker) as link:
        link.lease("one", missing)
        status = (await link.finished()).response.status
        assert status.code == Code.FAILED_PRECONDITION
        details = PreconditionFailure()
        assert status.details[0].Unpack(details)
        assert details.violations[0].subject == f"blobs/{missing}"
        link.lease("two", await worker.put(b"\xff"))
        assert (await link.finished()).response.status.code == Code.INVALID_ARGUMENT
        link.to_worker.put_nowait(worker_pb2.ToWorker())  # of a kind that is not known yet
        link.lease("three", await worker.action(["true"]))
        assert not (await link.finished()).response.HasField("status")


async def test_a_time_out_has_its_status_and_its_output(worker: Site) -> None:
    # REAPI rule: partial output is allowed with DEADLINE_EXCEEDED
    async with working(worker) as link:
        action = await worker.action(["/bin/sh", "-c", "echo before; sleep 300"])
        link.lease("one", action, seconds=1)
        response = (await link.finished()).response
        assert response.status.code == Code.DEADLINE_EXCEEDED
        assert await worker.stdout(response.result) == "before\n"


async def test_cancel_stops_one_action_and_no_other(worker: Site) -> None:
    async with working(worker) as link:
        link.lease("one", await sleeper(worker, "session-one"))
        link.lease("two", await sleeper(worker, "session-two"))
        await started("session-one")
        await started("session-two")
        link.cancel("one")
        link.cancel("unknown")
        await ended("session-one")
        assert sleepers("session-two")
        link.lease("three", await worker.action(["true"]))
        assert (await link.finished()).lease == "three"


async def test_no_more_actions_run_than_there_are_slots(worker: Site, tmp_path: Path) -> None:
    async with working(worker, slots=1) as link:
        link.lease("one", await sleeper(worker, "session-slot"))
        await started("session-slot")
        link.lease("two", await worker.action(["true"]))
        await asyncio.sleep(0.3)
        assert len(worker.left()) == 1
        link.cancel("one")
        assert (await link.finished()).lease == "two"


async def test_a_lost_link_ends_every_action(worker: Site) -> None:
    link = Queues()
    session = asyncio.create_task(work(link, worker.executor, slots=2))
    link.lease("one", await sleeper(worker, "session-lost"))
    await started("session-lost")
    link.to_worker.put_nowait(GONE)
    with pytest.raises(ConnectionError, match="scheduler is gone"):
        await session
    assert sleepers("session-lost") == []
    assert worker.left() == []


async def test_draining_lets_actions_end(worker: Site) -> None:
    link = Queues()
    drain = asyncio.Event()
    session = asyncio.create_task(work(link, worker.executor, slots=2, drain=drain))
    script = "sleep 1; echo done"
    link.lease("one", await worker.action(["/bin/sh", "-c", script, "draining"]))
    await started("draining")
    drain.set()
    assert (await link.from_worker.get()).HasField("draining")
    finished = await link.finished()
    assert await worker.stdout(finished.response.result) == "done\n"
    await session


async def test_draining_an_idle_worker_ends_it(worker: Site) -> None:
    link = Queues()
    drain = asyncio.Event()
    drain.set()
    await work(link, worker.executor, slots=2, drain=drain)
    assert (await link.from_worker.get()).HasField("draining")
