"""Operations, as the wire has them."""

from __future__ import annotations

from google.longrunning import operations_pb2

from cas.wire import TO_WIRE, digest_to
from protos import remote_execution_pb2 as reapi
from scheduler.operation import Operation, State


def operation_message(operation: Operation, state: State) -> operations_pb2.Operation:
    """Say what an operation is at, or how it ended.

    Source: remote_execution.proto, Execution.Execute: errors of an execution stand in the
    ExecuteResponse, and Operation.error is never set.
    """
    metadata = reapi.ExecuteOperationMetadata(
        stage=state.stage,
        action_digest=digest_to(operation.request.action),
        digest_function=TO_WIRE[operation.request.action.function],
        stdout_stream_name=state.streams.stdout,
        stderr_stream_name=state.streams.stderr,
    )
    metadata.partial_execution_metadata.queued_timestamp.FromNanoseconds(
        int(operation.queued_at * 1e9)
    )
    metadata.partial_execution_metadata.worker = state.worker
    message = operations_pb2.Operation(name=operation.name, done=state.done)
    message.metadata.Pack(metadata)
    if state.response is not None:
        message.response.Pack(state.response)
    return message
