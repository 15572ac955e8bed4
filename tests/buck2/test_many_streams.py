from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TypeVar

import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc

from protos import remote_execution_pb2 as reapi
from tests.buck2.actions import Made, make
from tests.buck2.connection import Connection
from tests.buck2.executing import (
    ExecuteCall,
    Finished,
    begin,
    execute_request,
    follow,
)
from tests.buck2.uploads import upload
from tests.protocol.blobs import unique

Item = TypeVar("Item")
Result = TypeVar("Result")

STREAMS = 400  # Buck2's execution_concurrency_limit
SLOTS = 4
SETTINGS = f"server.drain_seconds = 2\nworker.slots = {SLOTS}\n"


async def stage_of(stream: ExecuteCall, wanted: reapi.ExecutionStage.Value.ValueType) -> str:
    """Read `stream` until it tells of `wanted`; return the operation's name."""
    async for operation in stream:
        metadata = reapi.ExecuteOperationMetadata.FromString(operation.metadata.value)
        if metadata.stage == wanted:
            return str(operation.name)
    raise AssertionError("the stream ended before that stage")


async def each(
    work: Callable[[Item], Coroutine[object, object, Result]], items: Iterable[Item]
) -> Sequence[Result]:
    """Do `work` for all of `items` at once."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work(item)) for item in items]
    return [task.result() for task in running]


@pytest.mark.timeout(240)
async def test_four_hundred_streams_are_open_at_a_time_on_one_connection(
    client: Connection,
) -> None:
    # Buck2 rule: one daemon holds up to 400 Execute streams open. Here every slot is taken until
    # all of them are, so that they are certain to be open at the same time.
    async def start(made: Made) -> ExecuteCall:
        await upload(client, made.blobs.data)
        return await begin(client, execute_request(client, made))

    async def running(stream: ExecuteCall) -> str:
        return await stage_of(stream, reapi.ExecutionStage.EXECUTING)

    async def queued(stream: ExecuteCall) -> str:
        return await stage_of(stream, reapi.ExecutionStage.QUEUED)

    async def cancelled(name: str) -> None:
        stub = operations_pb2_grpc.OperationsStub(client.engine)
        await stub.CancelOperation(operations_pb2.CancelOperationRequest(name=name))

    async def finished(stream: ExecuteCall) -> Finished:
        return await follow(stream)

    gates = await each(start, [make(f"sleep 600 # {unique().hex()}") for _ in range(SLOTS)])
    names = await each(running, gates)
    made = [make(f"echo {number} > out # {unique().hex()}", ["out"]) for number in range(STREAMS)]
    streams = await each(start, made)
    assert len(set(await each(queued, streams))) == STREAMS
    await each(cancelled, names)
    results = [one.result for one in await each(finished, streams)]
    assert [result.exit_code for result in results] == [0] * STREAMS
    assert len({result.output_files[0].digest.hash for result in results}) == STREAMS
