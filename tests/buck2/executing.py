"""How Buck2 runs an action: look it up, upload what is missing, execute, follow the stages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from google.longrunning import operations_pb2
from google.rpc import code_pb2

from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc as reapi_grpc
from tests.buck2.action_cache import get_action_result
from tests.buck2.actions import Made
from tests.buck2.connection import Connection, InfrastructureError, retried
from tests.buck2.results import checked
from tests.buck2.uploads import upload

ExecuteCall = grpc.aio.UnaryStreamCall[reapi.ExecuteRequest, operations_pb2.Operation]


@dataclass(frozen=True, slots=True)
class Finished:
    """response: as it came, with a status that is OK. stages: without repetitions, in order."""

    response: reapi.ExecuteResponse
    stages: list[reapi.ExecutionStage.Value.ValueType]

    @property
    def result(self) -> reapi.ActionResult:
        return self.response.result


async def build(connection: Connection, made: Made) -> reapi.ActionResult:
    """Do what one remote action of a build does; return its result, cached or not."""
    if cached := await get_action_result(connection, made.digest):
        return cached
    await upload(connection, made.blobs.data)
    return (await execute(connection, made)).result


async def execute(
    connection: Connection, made: Made, *, skip_cache_lookup: bool = False, priority: int = 0
) -> Finished:
    """Execute, and follow the stream to its end."""
    request = execute_request(connection, made, skip_cache_lookup=skip_cache_lookup)
    request.execution_policy.priority = priority
    return await follow(await begin(connection, request))


def execute_request(
    connection: Connection, made: Made, *, skip_cache_lookup: bool = False
) -> reapi.ExecuteRequest:
    """Name the action. No digest function, and nothing to be inlined, is ever asked for."""
    return reapi.ExecuteRequest(
        instance_name=connection.settings.instance_name,
        action_digest=made.digest,
        skip_cache_lookup=skip_cache_lookup,
        execution_policy=reapi.ExecutionPolicy(priority=0),
        results_cache_policy=reapi.ResultsCachePolicy(priority=0),
    )


async def begin(connection: Connection, request: reapi.ExecuteRequest) -> ExecuteCall:
    """Start the stream; what comes instead of its headers is tried again, what comes later not."""
    stub = reapi_grpc.ExecutionStub(connection.engine)

    async def call() -> ExecuteCall:
        stream = stub.Execute(request, metadata=connection.metadata)
        await stream.wait_for_connection()
        return stream

    return await retried(call)


@asynccontextmanager
async def begun(connection: Connection, made: Made) -> AsyncIterator[ExecuteCall]:
    """Start the stream, and drop it at the end of the block: Buck2's only way to cancel."""
    stream = await begin(connection, execute_request(connection, made))
    try:
        yield stream
    finally:
        stream.cancel()


async def follow(stream: ExecuteCall) -> Finished:
    """Read `stream` to its end; any error on the way is final.

    Raises InfrastructureError where the stream breaks, ends too early, or ends with a status.
    """
    stages: list[reapi.ExecutionStage.Value.ValueType] = []
    try:
        async for operation in stream:
            if operation.done:
                return Finished(_response(operation), stages)
            stage = reapi.ExecuteOperationMetadata.FromString(operation.metadata.value).stage
            if stages[-1:] != [stage]:
                stages.append(stage)
    except grpc.aio.AioRpcError as error:
        raise InfrastructureError(code_pb2.UNKNOWN, f"{error.code()}: {error.details()}") from error
    raise InfrastructureError(code_pb2.UNKNOWN, "RE execution did not yield a ExecuteResponse")


def _response(operation: operations_pb2.Operation) -> reapi.ExecuteResponse:
    """Read the end of an operation. The types that stand beside Any's values are not looked at."""
    if operation.HasField("error"):
        raise InfrastructureError(operation.error.code, operation.error.message)
    response = reapi.ExecuteResponse.FromString(operation.response.value)
    if response.status.code != code_pb2.OK:
        raise InfrastructureError(response.status.code, response.status.message)
    if not response.HasField("result"):
        raise InfrastructureError(code_pb2.INTERNAL, "the response has no result")
    checked(response.result)
    return response
