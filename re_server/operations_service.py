"""The google.longrunning.Operations service."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from re_client.status import NotServed, Refused
from re_server.operations import operation_message
from re_server.rpc import Context
from scheduler.dispatch import Dispatcher
from scheduler.operation import Operation
from scheduler.register import InvalidPageToken, OperationNotFound

LONGEST_WAIT_SECONDS = 3600.0  # of WaitOperation, where the client sets no bound


class OperationsService(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]  # untyped package
    """google.longrunning.Operations, for executions.

    Names are opaque and of one client's request: cancelling one leaves others that wait for the
    same execution alone.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Context
    ) -> operations_pb2.ListOperationsResponse:
        if request.filter:
            raise Refused("filter: filters are not served; leave it empty")
        if request.page_size < 0:
            raise Refused(f"page_size {request.page_size}: must be 0 or more")
        try:
            page = self._dispatcher.list(
                instance=request.name or None,
                page_size=request.page_size,
                token=request.page_token,
            )
        except InvalidPageToken as error:
            raise Refused(str(error)) from None
        return operations_pb2.ListOperationsResponse(
            operations=[_message(operation) for operation in page.operations],
            next_page_token=page.next_token,
        )

    async def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        with _found():
            return _message(self._dispatcher.find(request.name))

    async def DeleteOperation(
        self, request: operations_pb2.DeleteOperationRequest, context: Context
    ) -> Empty:
        with _found():
            self._dispatcher.delete(request.name)
        return Empty()

    async def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: Context
    ) -> Empty:
        with _found():
            self._dispatcher.cancel(request.name)
        return Empty()

    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Context
    ) -> operations_pb2.Operation:
        """Answer when the operation is done, or after `timeout` as it is then."""
        with _found():
            operation = self._dispatcher.find(request.name)
        seconds = LONGEST_WAIT_SECONDS
        if request.HasField("timeout"):
            seconds = min(seconds, request.timeout.ToNanoseconds() / 1e9)
        try:
            async with asyncio.timeout(seconds), operation.watch() as states:
                async for _ in states:
                    pass
        except TimeoutError:
            pass
        return _message(operation)


def _message(operation: Operation) -> operations_pb2.Operation:
    return operation_message(operation, operation.state)


@contextmanager
def _found() -> Iterator[None]:
    try:
        yield
    except OperationNotFound as error:
        raise NotServed(str(error)) from None
