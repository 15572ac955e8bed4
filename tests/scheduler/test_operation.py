from __future__ import annotations

import asyncio

import pytest

from protos import remote_execution_pb2 as reapi
from scheduler.operation import Operation, State
from tests.scheduler.asking import request
from tests.scheduler.stream import result, states

QUEUED = State(reapi.ExecutionStage.QUEUED)
EXECUTING = State(reapi.ExecutionStage.EXECUTING, worker="w")
COMPLETED = State(reapi.ExecutionStage.COMPLETED, result())


def operation(heard: list[bool] | None = None) -> Operation:
    """Make an operation that tells `heard` when it is watched."""
    told = [] if heard is None else heard
    return Operation("name", 1, request(), queued_at=100, on_watched=told.append)


async def test_a_watch_gives_the_current_state_at_once() -> None:
    # REAPI rule: WaitExecution answers with the current state at once.
    watched = operation()
    async with watched.watch() as watch:
        assert await anext(watch) == QUEUED
    watched.publish(EXECUTING, 101)
    async with watched.watch() as watch:
        assert await anext(watch) == EXECUTING


async def test_a_watch_gives_each_change_and_ends_after_the_done_state() -> None:
    # REAPI rule: the stage is COMPLETED exactly when the operation is done; then the stream ends.
    watched = operation()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(states(watched))
        await asyncio.sleep(0)
        for state in (EXECUTING, QUEUED, EXECUTING, COMPLETED):
            watched.publish(state, 101)
    assert watching.result() == [QUEUED, EXECUTING, QUEUED, EXECUTING, COMPLETED]
    assert [state.done for state in watching.result()] == [False, False, False, False, True]


async def test_a_watch_of_a_done_operation_gives_its_end_at_once() -> None:
    watched = operation()
    watched.publish(COMPLETED, 101)
    assert await states(watched) == [COMPLETED]


async def test_a_watch_can_be_read_no_further_than_its_end() -> None:
    watched = operation()
    watched.publish(COMPLETED, 101)
    async with watched.watch() as watch:
        assert [state async for state in watch] == [COMPLETED]
        assert [state async for state in watch] == []


async def test_waiting_for_a_state_can_be_given_up_and_begun_again() -> None:
    watched = operation()
    async with watched.watch() as watch:
        assert await anext(watch) == QUEUED
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await anext(watch)
        watched.publish(EXECUTING, 101)
        assert await anext(watch) == EXECUTING


async def test_what_is_done_stays_as_it_is() -> None:
    watched = operation()
    watched.publish(COMPLETED, 101)
    watched.publish(EXECUTING, 102)
    assert watched.state == COMPLETED
    assert watched.finished_at == 101


async def test_an_operation_knows_when_it_was_queued_begun_and_finished() -> None:
    watched = operation()
    assert (watched.queued_at, watched.begun_at, watched.finished_at) == (100, None, None)
    watched.publish(EXECUTING, 101)
    watched.publish(COMPLETED, 102)
    assert (watched.queued_at, watched.begun_at, watched.finished_at) == (100, 101, 102)
    assert watched.stage == reapi.ExecutionStage.COMPLETED
    assert watched.response == result()


async def test_the_first_and_the_last_watch_are_told_of() -> None:
    heard: list[bool] = []
    watched = operation(heard)
    async with watched.watch():
        assert heard == [True]
        async with watched.watch():
            assert heard == [True]
        assert heard == [True]
    assert heard == [True, False]


async def test_an_operation_is_shown_by_name_action_and_stage() -> None:
    shown = operation()
    assert repr(shown) == f"<Operation name of {shown.request.action}: QUEUED>"
