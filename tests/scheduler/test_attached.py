"""What workers do to the scheduler, and it to them."""

from __future__ import annotations

import asyncio
import logging

import pytest
from google.rpc.code_pb2 import Code

from protos import remote_execution_pb2 as reapi, worker_pb2
from scheduler.attached import InvalidOffer
from scheduler.dispatch import Connected
from scheduler.limits import Limits
from scheduler.operation import State
from scheduler.platform import Platform
from tests.scheduler.asking import LINUX, MAC, offer, request
from tests.scheduler.dispatching import dispatching
from tests.scheduler.stream import asks_to_retry, ended, finished, leased, states

QUEUED = State(reapi.ExecutionStage.QUEUED)
EXECUTING = State(reapi.ExecutionStage.EXECUTING, worker="w")


async def test_an_action_of_a_lost_worker_runs_on_another() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer("second")) as second:
        dispatcher.execute(request("in the way"))
        in_the_way = await leased(second)
        async with asyncio.TaskGroup() as tasks:
            async with dispatcher.attach(offer("first")) as first:
                operation = dispatcher.execute(request())
                told = tasks.create_task(states(operation))
                await asyncio.sleep(0)
                lost = await leased(first)
            await second.send(finished(in_the_way))
            lease = await leased(second)
            assert lease.id != lost.id
            assert lease.action_digest == lost.action_digest
            await second.send(finished(lost))  # not its own: means nothing
            await second.send(finished(lease))
    assert [(state.stage, state.worker) for state in told.result()] == [
        (reapi.ExecutionStage.EXECUTING, "first"),
        (reapi.ExecutionStage.QUEUED, ""),
        (reapi.ExecutionStage.EXECUTING, "second"),
        (reapi.ExecutionStage.COMPLETED, ""),
    ]


async def test_an_action_that_loses_every_worker_ends_with_unavailable() -> None:
    async with dispatching(limits=Limits(max_attempts=2)) as dispatcher:
        operation = dispatcher.execute(request())
        for name in ("one", "two"):
            assert not operation.done
            async with dispatcher.attach(offer(name)) as attached:
                await leased(attached)
        response = await ended(operation)
        status = response.status
        assert status.code == Code.UNAVAILABLE
        assert asks_to_retry(response)
        assert status.message.startswith("2 workers were lost while they ran the action")


async def test_what_a_worker_says_after_it_is_gone_means_nothing() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer("other")) as other:
        async with dispatcher.attach(offer("gone", platform=MAC)) as gone:
            operation = dispatcher.execute(request(platform=MAC))
            lease = await leased(gone)
        for message in (finished(lease), worker_pb2.FromWorker(draining=worker_pb2.Draining())):
            await gone.send(message)
        assert operation.state == QUEUED
        async with dispatcher.attach(offer(platform=MAC)) as attached:
            await attached.send(finished(await leased(attached)))
            assert (await ended(operation)).result.execution_metadata.worker == "w"
        assert [worker.name for worker in dispatcher.workers()] == ["other"]
        dispatcher.execute(request())
        assert (await leased(other)).id


async def test_a_worker_that_fails_is_a_worker_that_is_lost() -> None:
    async with dispatching() as dispatcher:
        operation = dispatcher.execute(request())
        with pytest.raises(ConnectionResetError):
            async with dispatcher.attach(offer()):
                raise ConnectionResetError
        assert operation.state == QUEUED
        assert dispatcher.workers() == ()


async def test_messages_without_meaning_hurt_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer(slots=2)) as attached:
        operation = dispatcher.execute(request())
        lease = await leased(attached)
        for message in (
            worker_pb2.FromWorker(),
            worker_pb2.FromWorker(offer=offer("another")),
            finished(""),
            finished("nonsense"),
        ):
            await attached.send(message)
        assert operation.state == EXECUTING
        await attached.send(finished(lease))
        await attached.send(finished(lease))
        assert (await ended(operation)).HasField("result")
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "worker w sent a message of no known kind",
        "worker w made a second offer: ignored",
    ]


async def test_one_worker_cannot_end_anothers_lease() -> None:
    async with (
        dispatching() as dispatcher,
        dispatcher.attach(offer("honest")) as honest,
        dispatcher.attach(offer("other", platform=MAC)) as other,
    ):
        operation = dispatcher.execute(request())
        lease = await leased(honest)
        await other.send(finished(lease))
        assert not operation.done
        await honest.send(finished(lease))
        assert (await ended(operation)).result.execution_metadata.worker == "honest"


async def test_a_worker_may_end_a_lease_that_it_has_not_read() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        [lease] = attached._jobs
        await attached.send(finished(lease))
        assert (await ended(operation)).HasField("result")
        dispatcher.execute(request("b"))
        assert (await leased(attached)).id != lease


async def test_a_response_with_neither_result_nor_error_is_an_error() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        lease = await leased(attached)
        nothing = worker_pb2.FromWorker(finished=worker_pb2.Finished(lease=lease.id))
        await attached.send(nothing)
        status = (await ended(operation)).status
    assert status.code == Code.INTERNAL
    assert "neither a result nor an error" in status.message


async def test_a_workers_error_reaches_the_client() -> None:
    failed = reapi.ExecuteResponse()
    failed.status.code = Code.FAILED_PRECONDITION
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        await attached.send(finished(await leased(attached), failed))
        assert await ended(operation) == failed


async def test_waiting_for_a_lease_can_be_given_up_and_begun_again() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await attached.receive()
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(leased(attached))
            await asyncio.sleep(0)
            dispatcher.execute(request())
        assert receiving.result().id


async def test_a_draining_worker_gets_no_more() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer(slots=2)) as attached:
        operation = dispatcher.execute(request("a"))
        await attached.send(worker_pb2.FromWorker(draining=worker_pb2.Draining()))
        waiting = dispatcher.execute(request("b"))
        assert dispatcher.workers()[0].draining
        await attached.send(finished(await leased(attached)))
        await ended(operation)
        assert waiting.state == QUEUED


@pytest.mark.parametrize(
    ("bad", "message"),
    [(offer(""), r"offer\.name"), (offer(slots=0), r"offer\.slots"), (offer(slots=-1), "slots")],
)
async def test_an_offer_that_cannot_be_is_refused(bad: worker_pb2.Offer, message: str) -> None:
    async with dispatching() as dispatcher:
        with pytest.raises(InvalidOffer, match=message):
            async with dispatcher.attach(bad):
                pass
        assert dispatcher.workers() == ()


async def test_connected_workers_can_be_seen() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer(slots=2)):
        dispatcher.execute(request())
        assert dispatcher.workers() == (
            Connected("w", Platform.of(LINUX), slots=2, busy=1, draining=False, toolchain=""),
        )
