"""WaitExecution, and what is served of google.longrunning.Operations."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from google.longrunning import operations_pb2
from grpc import StatusCode

from conformance import methods, needs
from conformance.actions import (
    Executed,
    execute,
    metadata_of,
    put_action,
    request_for,
    run,
    script,
    stdout_of,
)
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.refusal import BAD_INPUT, CODES, Refused
from conformance.target import Target, unique
from conformance.violation import expect, optional, refused
from protos import remote_execution_pb2 as reapi

check = Section("operations", (needs.execution,))

SLOW = "sleep 1; echo done"
AT_ONCE_SECONDS = 8


async def _begin(target: Target, text: str = SLOW) -> tuple[reapi.Digest, str]:
    """Execute, leave after the first message, and return the action and the operation's name."""
    action = await put_action(target, script(text))
    async with aclosing(target.stream(methods.EXECUTE, request_for(target, action))) as messages:
        first = await anext(messages)
    return action, first.name


async def _wait(target: Target, name: str) -> Executed:
    request = reapi.WaitExecutionRequest(name=name)
    return Executed(await target.collect(methods.WAIT_EXECUTION, request))


@check(
    MUST,
    "WaitExecution of an operation that is not known is NOT_FOUND.",
    source="Execution.WaitExecution, l.122-136",
)
async def an_unknown_operation_is_not_found(target: Target) -> None:
    _, name = await _begin(target, "true")
    for unknown in (f"{name}{unique(8).hex()}", unique(16).hex()):
        with refused(StatusCode.NOT_FOUND):
            await _wait(target, unknown)


@check(
    MUST,
    "A client that left an execution can wait for it again, or is told NOT_FOUND and executes "
    "again; either way it gets the result.",
    source="Execution.WaitExecution, l.122-136",
)
async def who_left_can_come_back(target: Target) -> None:
    action, name = await _begin(target)
    try:
        executed = await _wait(target, name)
    except Refused as error:
        expect(error.code == StatusCode.NOT_FOUND, f"{error.code.name} was answered")
        executed = await execute(target, action)
    expect(await stdout_of(target, executed.result) == b"done\n", "stdout is another")


@check(
    MUST,
    "WaitExecution beside the client that executes gives both the result.",
    source="Execution.WaitExecution, l.122-136",
)
async def two_may_wait(target: Target) -> None:
    action = await put_action(target, script(SLOW))
    async with aclosing(target.stream(methods.EXECUTE, request_for(target, action))) as messages:
        first = await anext(messages)
        other = await _wait(target, first.name)
        mine = Executed([message async for message in messages] or [first])
    for executed in (mine, other):
        expect(await stdout_of(target, executed.result) == b"done\n", "stdout is another")


@check(
    MUST,
    "WaitExecution answers the current state at once.",
    source="Execution.WaitExecution, l.122-136",
    seconds=AT_ONCE_SECONDS,
)
async def the_state_is_told_at_once(target: Target) -> None:
    action = await put_action(target, script("sleep 10"), timeout_seconds=15)
    async with aclosing(target.stream(methods.EXECUTE, request_for(target, action))) as messages:
        name = (await anext(messages)).name
        request = reapi.WaitExecutionRequest(name=name)
        async with aclosing(target.stream(methods.WAIT_EXECUTION, request)) as waiting:
            metadata_of(await anext(waiting))


@check(
    MUST,
    "WaitExecution of an operation that is done answers it, or NOT_FOUND.",
    source="Execution.WaitExecution, l.122-136",
)
async def a_finished_operation_is_told_or_forgotten(target: Target) -> None:
    executed = await run(target, "echo done")
    try:
        again = await _wait(target, executed.last.name)
    except Refused as error:
        expect(error.code == StatusCode.NOT_FOUND, f"{error.code.name} was answered")
        return
    expect(await stdout_of(target, again.result) == b"done\n", "stdout is another")


@check(
    MUST,
    "A client that leaves takes no result from another that waits for the same action.",
    source="Execution.Execute, l.114-117",
)
async def who_leaves_takes_nothing_from_others(target: Target) -> None:
    action = await put_action(target, script(SLOW))
    request = request_for(target, action)
    async with asyncio.TaskGroup() as tasks:
        staying = tasks.create_task(execute(target, action))
        await asyncio.sleep(0.2)
        async with aclosing(target.stream(methods.EXECUTE, request)) as messages:
            await anext(messages)
    expect(await stdout_of(target, staying.result().result) == b"done\n", "stdout is another")


@check(
    MUST,
    "GetOperation, where it is served, knows an operation that runs.",
    source="Execution.Execute, l.74-79",
)
async def operations_can_be_asked_about(target: Target) -> None:
    _, name = await _begin(target)
    request = operations_pb2.GetOperationRequest(name=name)
    with optional("GetOperation"):
        operation = await target.call(methods.GET_OPERATION, request)
    expect(operation.name == name, f"the operation is called {operation.name!r}")
    expect(not operation.HasField("error"), "Operation.error is set")
    metadata_of(operation)


@check(
    MUST,
    "GetOperation, where it is served, of an unknown operation is NOT_FOUND.",
    source="google/longrunning/operations.proto, GetOperation",
)
async def unknown_operations_are_not_found(target: Target) -> None:
    request = operations_pb2.GetOperationRequest(name=unique(16).hex())
    with refused(StatusCode.NOT_FOUND), optional("GetOperation"):
        await target.call(methods.GET_OPERATION, request)


async def _cancel(target: Target, name: str) -> None:
    request = operations_pb2.CancelOperationRequest(name=name)
    with optional("CancelOperation"):
        await target.call(methods.CANCEL_OPERATION, request)


@check(
    MUST,
    "CancelOperation, where it is served, ends the operation with CANCELLED, or comes too late.",
    source="Execution.Execute, l.99-101",
)
async def a_cancelled_operation_says_so(target: Target) -> None:
    action = await put_action(target, script("sleep 5"), timeout_seconds=15)
    async with aclosing(target.stream(methods.EXECUTE, request_for(target, action))) as messages:
        first = await anext(messages)
        await _cancel(target, first.name)
        try:
            executed = Executed([message async for message in messages])
            code = CODES[executed.response.status.code]
        except Refused as error:
            code = error.code
    expect(code in {StatusCode.CANCELLED, StatusCode.OK}, f"{code.name} was answered")


@check(
    SHOULD,
    "CancelOperation of one client's operation leaves the other client's execution of the same "
    "action alone.",
    source="Execution.Execute, l.99-101",
)
async def cancelling_takes_nothing_from_others(target: Target) -> None:
    action = await put_action(target, script(SLOW))
    request = request_for(target, action)
    async with asyncio.TaskGroup() as tasks:
        staying = tasks.create_task(execute(target, action))
        await asyncio.sleep(0.2)
        async with aclosing(target.stream(methods.EXECUTE, request)) as messages:
            await _cancel(target, (await anext(messages)).name)
            with suppress(Refused):
                _ = [message async for message in messages]
    expect(await stdout_of(target, staying.result().result) == b"done\n", "stdout is another")


@check(
    ROBUSTNESS,
    "WaitExecution refuses names that are none.",
    source="WaitExecutionRequest.name, l.1702-1704",
)
async def malformed_operation_names_are_refused(target: Target) -> None:
    for name in ("", "/", "..", "\x00", "a/" * 2000):
        with refused(*BAD_INPUT):
            await _wait(target, name)
