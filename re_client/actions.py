"""Actions: their cached results, and their execution on the server."""

from __future__ import annotations

from collections.abc import Callable

import grpc.aio
from google.longrunning import operations_pb2

from cas.digest import Digest
from cas.tree import MissingInputs
from cas.wire import TO_WIRE, digest_to
from protos import remote_execution_pb2 as reapi
from protos.remote_execution_pb2_grpc import ActionCacheStub, ExecutionStub
from re_client.connection import Connection, told_apart
from re_client.status import ServerFailed, from_status, missing_blobs

OnStage = Callable[[reapi.ExecuteOperationMetadata], object]


class Actions:
    """The actions of one instance."""

    def __init__(self, connection: Connection, instance_name: str) -> None:
        self._connection = connection
        self._instance_name = instance_name
        self._cache = ActionCacheStub(connection.channel)

    async def result(self, action: Digest, *, inline: bool = False) -> reapi.ActionResult:
        """Return the cached result; raise NotServed if there is none.

        inline: ask for stdout and stderr in the result itself.
        """
        request = reapi.GetActionResultRequest(
            instance_name=self._instance_name,
            action_digest=digest_to(action),
            digest_function=TO_WIRE[action.function],
            inline_stdout=inline,
            inline_stderr=inline,
        )
        return await self._connection.call(self._cache.GetActionResult, request)

    async def update(self, action: Digest, result: reapi.ActionResult) -> reapi.ActionResult:
        """Store a result; return what is stored, which is the first one if there was one.

        Raises Unserved or MissingInputs if the Action or Command is not uploaded, NotAllowed.
        """
        request = reapi.UpdateActionResultRequest(
            instance_name=self._instance_name,
            action_digest=digest_to(action),
            digest_function=TO_WIRE[action.function],
            action_result=result,
        )
        return await self._connection.call(self._cache.UpdateActionResult, request)

    async def execute(
        self,
        action: Digest,
        *,
        skip_cache_lookup: bool = False,
        priority: int = 0,
        on_stage: OnStage = lambda metadata: None,
    ) -> reapi.ExecuteResponse:
        """Run the action and wait until it is done.

        on_stage: told each state that the server tells, repetitions included.
        A broken stream is taken up again with WaitExecution, and where the server does not know
        the execution any more, it is asked for again. `status` of what is returned says whether
        the action ran; its result can hold output even if it did not end.
        Raises MissingInputs with all blobs that must be uploaded first, ConnectionError, and what
        from_status returns for a server that refuses.
        Source: remote_execution.proto, service Execution.
        """
        request = reapi.ExecuteRequest(
            instance_name=self._instance_name,
            action_digest=digest_to(action),
            digest_function=TO_WIRE[action.function],
            skip_cache_lookup=skip_cache_lookup,
            execution_policy=reapi.ExecutionPolicy(priority=priority),
            inline_stdout=True,
            inline_stderr=True,
        )
        waiting = _Waiting(self._connection, request, on_stage)
        response = _response_of(await waiting.done(), action)
        if missing := missing_blobs(response.status, action.function):
            raise MissingInputs(missing)
        return response


class _Waiting:
    """One execution, followed until it is done."""

    def __init__(
        self,
        connection: Connection,
        request: reapi.ExecuteRequest,
        on_stage: OnStage,
    ) -> None:
        self._connection = connection
        self._stub = ExecutionStub(connection.channel)
        self._request = request
        self._on_stage = on_stage
        self._name = ""
        self._failed = 0

    async def done(self) -> operations_pb2.Operation:
        while True:
            try:
                with told_apart():
                    operation = await self._follow()
            except grpc.aio.AioRpcError as error:
                if self._name and error.code() == grpc.StatusCode.NOT_FOUND:
                    self._name = ""
                    continue
                self._failed += 1
                await self._connection.pause_or_raise(error, self._failed)
                continue
            if operation is not None:
                return operation
            self._failed += 1
            if self._failed >= self._connection.retry.attempts:
                raise ServerFailed("the server ends the execution's stream before it is done")
            await self._connection.retry.pause(self._failed)

    async def _follow(self) -> operations_pb2.Operation | None:
        """Read one stream to its end; None if it ends before the execution does."""
        metadata = self._connection.metadata
        call: (
            grpc.aio.UnaryStreamCall[reapi.ExecuteRequest, operations_pb2.Operation]
            | grpc.aio.UnaryStreamCall[reapi.WaitExecutionRequest, operations_pb2.Operation]
        )
        if self._name:
            wait = reapi.WaitExecutionRequest(name=self._name)
            call = self._stub.WaitExecution(wait, metadata=metadata)
        else:
            call = self._stub.Execute(self._request, metadata=metadata)
        try:
            async for operation in call:
                self._name = operation.name
                self._failed = 0
                state = reapi.ExecuteOperationMetadata()
                if operation.metadata.Unpack(state):
                    self._on_stage(state)
                if operation.done:
                    return operation
        finally:
            call.cancel()
        return None


def _response_of(operation: operations_pb2.Operation, action: Digest) -> reapi.ExecuteResponse:
    if operation.HasField("error"):
        raise from_status(operation.error, function=action.function)
    response = reapi.ExecuteResponse()
    if not operation.response.Unpack(response):
        raise ServerFailed(f"the server ends the execution of {action} without an ExecuteResponse")
    return response
