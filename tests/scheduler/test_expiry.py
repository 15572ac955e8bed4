"""What ends without a worker's doing: bounds, expiry, draining."""

from __future__ import annotations

import asyncio

import pytest
from google.rpc.code_pb2 import Code

from protos import remote_execution_pb2 as reapi
from scheduler.dispatch import Dispatcher
from scheduler.limits import Limits
from scheduler.operation import State
from scheduler.queue import Draining, QueueFull
from scheduler.register import OperationNotFound
from tests.scheduler.asking import LINUX, MAC, Clock, offer, request
from tests.scheduler.dispatching import as_it_is, dispatching
from tests.scheduler.stream import asks_to_retry, ended, finished, leased, result

QUEUED = State(reapi.ExecutionStage.QUEUED)
EXECUTING = State(reapi.ExecutionStage.EXECUTING, worker="w")


async def test_a_full_queue_refuses_and_keeps_no_operation() -> None:
    async with dispatching(limits=Limits(max_queued=1)) as dispatcher:
        dispatcher.execute(request("a"))
        with pytest.raises(QueueFull):
            dispatcher.execute(request("b"))
        assert len(dispatcher.list().operations) == 1


async def test_an_abandoned_operation_is_dropped_and_not_found_then() -> None:
    clock = Clock()
    limits = Limits(abandoned_seconds=10, no_worker_seconds=1000)
    async with dispatching(limits=limits, clock=clock) as dispatcher:
        operation = dispatcher.execute(request())
        deleted = dispatcher.execute(request())
        dispatcher.delete(deleted.name)
        async with operation.watch():
            clock.seconds += 100
            dispatcher.sweep()
            assert operation.state == QUEUED
        assert deleted.done
        clock.seconds += 9
        dispatcher.sweep()
        async with dispatcher.find(operation.name).watch():  # the client has come back in time
            clock.seconds += 9
            dispatcher.sweep()
        clock.seconds += 10
        dispatcher.sweep()
        assert operation.done
        with pytest.raises(OperationNotFound):
            dispatcher.find(operation.name)
        assert dispatcher.depths() == {}


async def test_a_running_action_outlives_its_clients_connection() -> None:
    clock = Clock()
    async with dispatching(clock=clock) as dispatcher, dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        async with operation.watch() as watch:
            assert await anext(watch) == EXECUTING
        clock.seconds += 3600
        dispatcher.sweep()
        await attached.send(finished(await leased(attached)))
        assert (await ended(dispatcher.find(operation.name))).HasField("result")


async def test_a_platform_that_nobody_serves_is_named_with_what_is_offered() -> None:
    # REAPI rule: an action whose platform properties are unknown is refused, not queued for ever.
    clock = Clock()
    limits = Limits(no_worker_seconds=10)
    async with (
        dispatching(limits=limits, clock=clock) as dispatcher,
        dispatcher.attach(offer("one", platform=(*LINUX, ("OSFamily", "Linux")))),
        dispatcher.attach(offer("two", platform=())),
    ):
        operation = dispatcher.execute(request(platform=(*MAC, ("arch", "arm64"))))
        clock.seconds += 10
        dispatcher.sweep()
        status = (await ended(operation)).status
    assert status.code == Code.FAILED_PRECONDITION
    assert status.message == (
        "no worker serves the action's platform (OSFamily=mac, arch=arm64); connected workers "
        "offer: OSFamily=Linux, OSFamily=linux | no properties"
    )


async def test_an_action_without_any_worker_is_told_so() -> None:
    clock = Clock()
    async with dispatching(limits=Limits(no_worker_seconds=10), clock=clock) as dispatcher:
        operation = dispatcher.execute(request())
        clock.seconds += 10
        dispatcher.sweep()
        assert "none is connected" in (await ended(operation)).status.message


async def test_finished_operations_are_found_for_a_while() -> None:
    clock = Clock()
    async with dispatching(limits=Limits(keep_finished_seconds=10), clock=clock) as dispatcher:
        operation = dispatcher.completed(request(), result())
        clock.seconds += 9
        dispatcher.sweep()
        assert dispatcher.find(operation.name) is operation
        clock.seconds += 1
        dispatcher.sweep()
        with pytest.raises(OperationNotFound):
            dispatcher.find(operation.name)


async def test_what_is_old_expires_without_being_asked() -> None:
    dispatcher = Dispatcher(settle=as_it_is, limits=Limits(no_worker_seconds=0.01))
    async with dispatcher.running():
        operation = dispatcher.execute(request())
        assert (await ended(operation)).status.code == Code.FAILED_PRECONDITION


async def test_operations_are_listed_page_by_page() -> None:
    async with dispatching() as dispatcher:
        names = [dispatcher.execute(request(str(n))).name for n in range(5)]
        dispatcher.execute(request(instance="other"))
        listed: list[str] = []
        token = ""
        while len(listed) < 5:
            page = dispatcher.list(instance="", page_size=2, token=token)
            listed += [operation.name for operation in page.operations]
            token = page.next_token
        assert listed == names
        assert token == ""


async def test_a_deleted_operation_goes_on_for_who_watches_it() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        dispatcher.delete(operation.name)
        with pytest.raises(OperationNotFound):
            dispatcher.find(operation.name)
        await attached.send(finished(await leased(attached)))
        assert (await ended(operation)).HasField("result")
        assert dispatcher.list().operations == ()


# Draining


async def test_draining_waits_for_what_runs_and_ends_what_waits() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        running = dispatcher.execute(request("a"))
        waiting = dispatcher.execute(request("b"))
        async with asyncio.TaskGroup() as tasks:
            draining = tasks.create_task(dispatcher.drain())
            response = await ended(waiting)
            assert response.status.code == Code.UNAVAILABLE
            assert asks_to_retry(response)
            with pytest.raises(Draining):
                dispatcher.execute(request("c"))
            assert not draining.done()
            await attached.send(finished(await leased(attached)))
        assert (await ended(running)).HasField("result")
        await dispatcher.drain()


async def test_draining_ends_when_the_last_that_runs_is_cancelled() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()):
        running = dispatcher.execute(request())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(dispatcher.drain())
            await asyncio.sleep(0)
            dispatcher.cancel(running.name)


async def test_an_action_whose_worker_is_lost_while_draining_ends() -> None:
    async with dispatching() as dispatcher, asyncio.TaskGroup() as tasks:
        async with dispatcher.attach(offer()):
            running = dispatcher.execute(request())
            tasks.create_task(dispatcher.drain())
            await asyncio.sleep(0)
        assert (await ended(running)).status.code == Code.UNAVAILABLE
