"""A worker's part and a client's part, as tests play them."""

from __future__ import annotations

from google.rpc.error_details_pb2 import RetryInfo

from protos import remote_execution_pb2 as reapi, worker_pb2
from scheduler.attached import Attached
from scheduler.operation import Operation, State


async def leased(attached: Attached) -> worker_pb2.Lease:
    """Return the lease that comes next; anything else fails the test."""
    message = await attached.receive()
    assert message.WhichOneof("message") == "lease"
    return message.lease


def result(exit_code: int = 0) -> reapi.ExecuteResponse:
    return reapi.ExecuteResponse(result=reapi.ActionResult(exit_code=exit_code))


def finished(
    lease: worker_pb2.Lease | str, response: reapi.ExecuteResponse | None = None
) -> worker_pb2.FromWorker:
    """Say that a lease is done, with exit code 0 where no response is given."""
    name = lease if isinstance(lease, str) else lease.id
    return worker_pb2.FromWorker(
        finished=worker_pb2.Finished(lease=name, response=response or result())
    )


async def states(operation: Operation) -> list[State]:
    """Watch an operation until it is done."""
    async with operation.watch() as watch:
        return [state async for state in watch]


async def ended(operation: Operation) -> reapi.ExecuteResponse:
    """Wait until an operation is done; return its response."""
    response = (await states(operation))[-1].response
    assert response is not None
    return response


def asks_to_retry(response: reapi.ExecuteResponse) -> bool:
    """Whether a response's status says when to ask again."""
    return any(
        detail.Unpack(told) and told.retry_delay.ToSeconds() > 0
        for detail in response.status.details
        for told in [RetryInfo()]
    )
