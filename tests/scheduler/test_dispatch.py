"""The scheduler whole: clients on one side, attached workers on the other."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from google.rpc.code_pb2 import Code

from cas.digest import Digest, DigestFunction
from protos import remote_execution_pb2 as reapi, worker_pb2
from scheduler.attached import Ran
from scheduler.dispatch import Dispatcher
from scheduler.limits import Limits
from scheduler.operation import State
from scheduler.register import OperationNotFound
from scheduler.request import Request, Rewriting, TextRule
from tests.scheduler.asking import Clock, offer, request
from tests.scheduler.dispatching import as_it_is, dispatching
from tests.scheduler.stream import ended, finished, leased, result, states

QUEUED = State(reapi.ExecutionStage.QUEUED)
EXECUTING = State(reapi.ExecutionStage.EXECUTING, worker="w")


async def test_an_action_runs_on_a_worker_and_its_stages_are_told() -> None:
    async with dispatching() as dispatcher, asyncio.TaskGroup() as tasks:
        operation = dispatcher.execute(request())
        watching = tasks.create_task(states(operation))
        await asyncio.sleep(0)
        async with dispatcher.attach(offer()) as attached:
            lease = await leased(attached)
            await attached.send(finished(lease))
            told = await watching
    assert told[:2] == [QUEUED, EXECUTING]
    assert told[2].stage == reapi.ExecutionStage.COMPLETED
    assert told[2].response is not None
    assert told[2].response.result.exit_code == 0
    assert len(told) == 3


async def test_a_lease_says_all_that_a_worker_needs() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        blake3 = Digest.of(b"action", DigestFunction.BLAKE3)
        rule = TextRule("stamp", "[0-9]+", "0", "*.txt", "Genrule")
        rewriting = Rewriting(worker_pb2.Canonicalise.LEARNED, ("elf",), (rule,))
        variation = worker_pb2.Variation(host_name="elsewhere")
        asked = replace(
            request(instance="main", rewriting=rewriting),
            action=blake3,
            timeout_seconds=1.5,
            mnemonic="Genrule",
            variation=variation,
        )
        dispatcher.execute(asked)
        lease = await leased(attached)
    assert lease.id
    assert lease.instance_name == "main"
    assert lease.action_digest == reapi.Digest(hash=blake3.hash, size_bytes=blake3.size)
    assert lease.digest_function == reapi.DigestFunction.BLAKE3
    assert lease.timeout.ToMilliseconds() == 1500
    assert lease.canonicalise == worker_pb2.Canonicalise.LEARNED
    assert list(lease.formats) == ["elf"]
    assert lease.text_rules[0] == worker_pb2.TextRule(**rule._asdict())
    assert lease.mnemonic == "Genrule"
    assert lease.variation == variation


async def test_a_result_says_when_it_was_queued_and_who_ran_it() -> None:
    # REAPI rule: execution_metadata is there in every result, and queued_timestamp is the server's.
    clock = Clock()
    async with dispatching(clock=clock) as dispatcher:
        operation = dispatcher.execute(request())
        clock.seconds += 7
        async with dispatcher.attach(offer("worker 7")) as attached:
            await attached.send(finished(await leased(attached)))
            metadata = (await ended(operation)).result.execution_metadata
    assert metadata.worker == "worker 7"
    assert metadata.queued_timestamp.ToMilliseconds() == 1_000_000
    assert (operation.queued_at, operation.begun_at, operation.finished_at) == (1000, 1007, 1007)


async def test_what_is_settled_is_what_is_answered() -> None:
    async def settle(
        asked: Request, response: reapi.ExecuteResponse, ran: Ran
    ) -> reapi.ExecuteResponse:
        assert asked == request()
        return reapi.ExecuteResponse(result=response.result, message="settled")

    async with dispatching(settle) as dispatcher, dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        await attached.send(finished(await leased(attached), result(3)))
        response = await ended(operation)
    assert response.message == "settled"
    assert response.result.exit_code == 3


async def test_settling_that_fails_ends_the_operation_with_internal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def settle(
        asked: Request, response: reapi.ExecuteResponse, ran: Ran
    ) -> reapi.ExecuteResponse:
        raise OSError("the disk is gone")

    async with dispatching(settle) as dispatcher, dispatcher.attach(offer()) as attached:
        operations = [dispatcher.execute(request()) for _ in range(2)]
        await attached.send(finished(await leased(attached)))
        for operation in operations:
            status = (await ended(operation)).status
            assert status.code == Code.INTERNAL
            assert "the disk is gone" in status.message
        again = dispatcher.execute(request())
        await leased(attached)
        assert not again.done
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]


async def test_a_worker_may_go_while_its_result_is_being_settled() -> None:
    settled = asyncio.Event()

    async def settle(
        asked: Request, response: reapi.ExecuteResponse, ran: Ran
    ) -> reapi.ExecuteResponse:
        await settled.wait()
        return response

    async with dispatching(settle) as dispatcher:
        async with dispatcher.attach(offer()) as attached:
            operation = dispatcher.execute(request())
            await attached.send(finished(await leased(attached)))
        joined = dispatcher.execute(request())
        assert joined.stage == reapi.ExecutionStage.EXECUTING
        settled.set()
        assert await ended(operation) is await ended(joined)


async def test_results_delivered_by_the_end_are_settled_before_it() -> None:
    async def settle(
        asked: Request, response: reapi.ExecuteResponse, ran: Ran
    ) -> reapi.ExecuteResponse:
        await asyncio.sleep(0.01)
        return response

    async with dispatching(settle) as dispatcher, dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        await attached.send(finished(await leased(attached)))
    assert operation.done


async def test_a_cache_hit_is_an_operation_that_is_done() -> None:
    async with dispatching() as dispatcher:
        operation = dispatcher.completed(request(), result())
        assert dispatcher.find(operation.name) is operation
        assert await ended(operation) == result()
        assert await ended(operation) == result()
        dispatcher.cancel(operation.name)
        assert operation.response == result()


# Merged requests


async def test_of_64_merged_waiters_one_is_cancelled_and_63_are_answered() -> None:
    # REAPI rule: operations are per waiter; cancelling one must not end what others wait for.
    async with dispatching() as dispatcher, dispatcher.attach(offer(slots=64)) as attached:
        operations = [dispatcher.execute(request()) for _ in range(64)]
        assert len({operation.name for operation in operations}) == 64
        assert dispatcher.executing == 1
        async with asyncio.TaskGroup() as tasks:
            ends = [tasks.create_task(ended(operation)) for operation in operations]
            lease = await leased(attached)
            dispatcher.cancel(operations[17].name)
            assert (await ends[17]).status.code == Code.CANCELLED
            assert sum(end.done() for end in ends) == 1
            await attached.send(finished(lease))
        answers = [end.result() for end in ends]
        assert [answer.HasField("result") for answer in answers].count(True) == 63
        assert not answers[17].HasField("result")
        assert dispatcher.find(operations[17].name).done


async def test_the_last_waiters_cancel_reaches_the_worker() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        operations = [dispatcher.execute(request()) for _ in range(2)]
        following = dispatcher.execute(request("next"))
        lease = await leased(attached)
        dispatcher.cancel(operations[0].name)
        assert dispatcher.executing == 1
        dispatcher.cancel(operations[1].name)
        message = await attached.receive()
        assert message.cancel.lease == lease.id
        next_lease = await leased(attached)
        await attached.send(finished(lease))  # crossed with the cancel on its way
        assert not following.done
        await attached.send(finished(next_lease))
        assert (await ended(following)).HasField("result")
        assert [(await ended(operation)).status.code for operation in operations] == [
            Code.CANCELLED
        ] * 2


async def test_a_worker_does_not_hear_of_a_lease_that_was_cancelled_before_it_saw_it() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request("a"))
        dispatcher.execute(request("b"))
        dispatcher.cancel(operation.name)
        lease = await leased(attached)
        assert lease.action_digest.hash == Digest.of(b"b").hash


async def test_a_cancelled_queued_action_never_runs() -> None:
    async with dispatching() as dispatcher:
        operation = dispatcher.execute(request("a"))
        dispatcher.cancel(operation.name)
        dispatcher.cancel(operation.name)
        status = (await ended(operation)).status
        assert (status.code, status.message) == (Code.CANCELLED, "cancelled by a client")
        async with dispatcher.attach(offer()):
            assert dispatcher.executing == 0


async def test_cancelling_what_is_not_known_is_an_error() -> None:
    async with dispatching() as dispatcher:
        with pytest.raises(OperationNotFound):
            dispatcher.cancel("nonsense")


async def test_one_who_joins_a_running_execution_is_told_that_it_runs() -> None:
    async with dispatching() as dispatcher, dispatcher.attach(offer()):
        dispatcher.execute(request())
        joined = dispatcher.execute(request())
        assert joined.state == EXECUTING


# Many at once


async def test_400_clients_are_served_by_three_workers() -> None:
    waits: list[float] = []
    dispatcher = Dispatcher(
        settle=as_it_is,
        limits=Limits(),
        on_start=lambda required, waited_seconds: waits.append(waited_seconds),
    )

    async def work(name: str) -> None:
        async with dispatcher.attach(offer(name, slots=4)) as attached:
            while (lease := await leased(attached)).instance_name != "stop":
                await asyncio.sleep(0)
                await attached.send(finished(lease))

    async with dispatcher.running(), asyncio.TaskGroup() as tasks:
        for name in "uvw":
            tasks.create_task(work(name))
        async with asyncio.TaskGroup() as clients:
            ends = [
                clients.create_task(
                    ended(dispatcher.execute(request(str(n), invocation=str(n % 5))))
                )
                for n in range(400)
            ]
        assert all(end.result().HasField("result") for end in ends)
        assert len(waits) == 400
        assert min(waits) >= 0
        for number in range(3):
            dispatcher.execute(request(str(number), instance="stop", mergeable=False))
            await asyncio.sleep(0)
