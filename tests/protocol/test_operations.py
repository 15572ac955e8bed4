from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.longrunning import operations_pb2
from google.rpc import code_pb2

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import command, put_action, put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import (
    CALL_SECONDS,
    Executed,
    Peer,
    connected,
    operation_metadata,
    refused,
)
from tests.serving import Served

Stage = reapi.ExecutionStage
Stream = Iterator[operations_pb2.Operation]
UNKNOWN_NAMES = ("", "x", "operations/x", "../x", "\0", "a" * 10_000, "9" * 36)


def begin(peer: Peer, action: reapi.Digest) -> tuple[operations_pb2.Operation, Stream]:
    """Execute; return the first message that tells of the action running, and the stream."""
    stream = peer.execution.Execute(peer.execute_request(action), timeout=CALL_SECONDS)
    for operation in stream:
        if operation_metadata(operation).stage == Stage.EXECUTING:
            return operation, stream
    raise AssertionError("the action never ran")


def get(peer: Peer, name: str) -> operations_pb2.Operation:
    request = operations_pb2.GetOperationRequest(name=name)
    return peer.operations.GetOperation(request, timeout=CALL_SECONDS)


def cancel(peer: Peer, name: str) -> None:
    request = operations_pb2.CancelOperationRequest(name=name)
    peer.operations.CancelOperation(request, timeout=CALL_SECONDS)


def delete(peer: Peer, name: str) -> None:
    request = operations_pb2.DeleteOperationRequest(name=name)
    peer.operations.DeleteOperation(request, timeout=CALL_SECONDS)


def listed(peer: Peer, *, page_size: int = 0) -> list[str]:
    """Return the names of all operations, page by page."""
    names: list[str] = []
    token = ""
    while True:
        request = operations_pb2.ListOperationsRequest(page_size=page_size, page_token=token)
        page = peer.operations.ListOperations(request, timeout=CALL_SECONDS)
        assert not page_size or len(page.operations) <= page_size
        names += [operation.name for operation in page.operations]
        if not (token := page.next_page_token):
            return names


def test_waiting_answers_the_current_state_at_once(each: Peer) -> None:
    # REAPI rule: WaitExecution first tells the state, then waits.
    running, stream = begin(each, put_script(each, "sleep 2"))
    request = reapi.WaitExecutionRequest(name=running.name)
    waiting = each.execution.WaitExecution(request, timeout=CALL_SECONDS)
    first = next(waiting)
    assert not first.done
    assert operation_metadata(first).stage == Stage.EXECUTING
    waited, executed = Executed([first, *waiting]), Executed([running, *stream])
    assert waited.result == executed.result


def test_waiting_for_what_is_done_answers_and_ends(each: Peer) -> None:
    executed = each.execute(put_script(each, "echo done"))
    waited = each.wait(executed.name)
    assert len(waited.operations) == 1
    assert waited.result == executed.result


def test_an_action_outlives_the_client_that_asked_for_it(served: Served, peer: Peer) -> None:
    with connected(served.grpc) as first:
        running, _ = begin(first, put_script(first, "sleep 2; echo survived > out", "out"))
    waited = peer.wait(running.name)
    assert waited.result.exit_code == 0
    assert waited.result.output_files[0].path == "out"


@pytest.mark.parametrize("name", UNKNOWN_NAMES)
def test_waiting_for_an_unknown_operation_is_not_found(peer: Peer, name: str) -> None:
    # REAPI rule: NOT_FOUND makes the client execute again.
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.wait(name)


@pytest.mark.parametrize("name", UNKNOWN_NAMES)
def test_unknown_operations_are_not_found(peer: Peer, name: str) -> None:
    for call in (get, cancel, delete):
        with refused(grpc.StatusCode.NOT_FOUND):
            call(peer, name)


def test_an_operation_can_be_asked_for_while_it_runs_and_when_it_is_done(each: Peer) -> None:
    running, stream = begin(each, put_script(each, "sleep 1"))
    answer = get(each, running.name)
    assert (answer.name, answer.done) == (running.name, False)
    executed = Executed([running, *stream])
    answer = Executed([get(each, running.name)])
    assert answer.result == executed.result


def test_operations_are_listed_page_by_page(peer: Peer) -> None:
    names = [peer.execute(put_script(peer, f"echo {number}")).name for number in range(5)]
    for page_size in (0, 1, 2, 1000):
        found = listed(peer, page_size=page_size)
        assert set(names) <= set(found)
        assert len(found) == len(set(found))


@pytest.mark.parametrize("page_size", [-1, -(1 << 31)])
def test_a_negative_page_size_is_refused(peer: Peer, page_size: int) -> None:
    request = operations_pb2.ListOperationsRequest(page_size=page_size)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="page_size"):
        peer.operations.ListOperations(request, timeout=CALL_SECONDS)


@pytest.mark.parametrize("page_token", ["x", "\0", "-1", "é"])
def test_a_page_token_that_nobody_gave_out_is_refused(peer: Peer, page_token: str) -> None:
    request = operations_pb2.ListOperationsRequest(page_token=page_token)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="page_token"):
        peer.operations.ListOperations(request, timeout=CALL_SECONDS)


def test_a_huge_page_size_is_only_a_maximum(peer: Peer) -> None:
    peer.execute(put_script(peer, "true"))
    assert listed(peer, page_size=(1 << 31) - 1)


def test_a_cancelled_operation_ends_as_cancelled(each: Peer) -> None:
    # REAPI rules: the status is CANCELLED in the response, and Operation.error is not set.
    action = put_script(each, "sleep 40")
    running, stream = begin(each, action)
    cancel(each, running.name)
    executed = Executed([running, *stream])
    assert executed.response.status.code == code_pb2.CANCELLED
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(action)
    assert Executed([get(each, running.name)]).response.status.code == code_pb2.CANCELLED


def test_cancelling_one_waiters_operation_leaves_the_others(each: Peer) -> None:
    # REAPI rule: operations are per waiter; an execution that others wait on goes on.
    action = put_script(each, "sleep 2; echo 1 > out", "out")
    first, first_stream = begin(each, action)
    second, second_stream = begin(each, action)
    assert first.name != second.name
    cancel(each, first.name)
    assert Executed([first, *first_stream]).response.status.code == code_pb2.CANCELLED
    assert Executed([second, *second_stream]).result.output_files[0].path == "out"


def test_a_queued_operation_can_be_cancelled(peer: Peer) -> None:
    # An action that no worker serves waits for one, for the time that the configuration says.
    from_platform = put_script_for(peer, "nobody")
    stream = peer.execution.Execute(peer.execute_request(from_platform), timeout=CALL_SECONDS)
    first = next(stream)
    assert operation_metadata(first).stage == Stage.QUEUED
    cancel(peer, first.name)
    assert Executed([first, *stream]).response.status.code == code_pb2.CANCELLED


def put_script_for(peer: Peer, pool: str) -> reapi.Digest:
    return put_action(peer, command("true", platform={"pool": pool}))


def test_cancelling_what_is_done_changes_nothing(peer: Peer) -> None:
    # google.longrunning: cancellation is best effort, and a result that is there stays.
    executed = peer.execute(put_script(peer, "echo 1 > out", "out"))
    cancel(peer, executed.name)
    assert peer.wait(executed.name).result == executed.result


def test_a_deleted_operation_is_gone_and_its_result_is_not(peer: Peer) -> None:
    action = put_script(peer, "true")
    executed = peer.execute(action)
    delete(peer, executed.name)
    for call in (get, delete):
        with refused(grpc.StatusCode.NOT_FOUND):
            call(peer, executed.name)
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.wait(executed.name)
    assert peer.get_result(action) == executed.result


def test_waiting_through_the_operations_service_ends_with_the_action(peer: Peer) -> None:
    running, _ = begin(peer, put_script(peer, "sleep 1; echo waited > out", "out"))
    request = operations_pb2.WaitOperationRequest(name=running.name)
    answer = Executed([peer.operations.WaitOperation(request, timeout=CALL_SECONDS)])
    assert answer.result.output_files[0].path == "out"


def test_waiting_through_the_operations_service_ends_after_its_timeout(peer: Peer) -> None:
    # google.longrunning: after the timeout the latest state is the answer.
    running, _ = begin(peer, put_script(peer, "sleep 20"))
    request = operations_pb2.WaitOperationRequest(name=running.name)
    request.timeout.FromMilliseconds(200)
    answer = peer.operations.WaitOperation(request, timeout=CALL_SECONDS)
    assert not answer.done
    assert answer.name == running.name
    cancel(peer, running.name)


def test_waiting_through_the_operations_service_may_be_asked_for_longer_than_any_clock_has(
    peer: Peer,
) -> None:
    executed = peer.execute(put_script(peer, "true"))
    request = operations_pb2.WaitOperationRequest(name=executed.name)
    request.timeout.seconds = (1 << 63) - 1
    assert peer.operations.WaitOperation(request, timeout=CALL_SECONDS).done


def test_names_are_opaque_and_cannot_be_guessed(peer: Peer) -> None:
    # REAPI rule: clients read nothing out of a name; nobody is to find another's by counting.
    names = [peer.execute(put_script(peer, "true")).name for _ in range(2)]
    shared = sum(a == b for a, b in zip(*names, strict=True))
    assert len(names[0]) - shared >= 16


def test_streams_that_their_clients_leave_do_no_harm(peer: Peer) -> None:
    # Buck2 rule: its only way to cancel is to drop the stream, before or while the action runs.
    for _ in range(10):
        action = put_script(peer, f"sleep 0.2; echo {unique().hex()}")
        call = peer.execution.Execute(peer.execute_request(action), timeout=CALL_SECONDS)
        next(call)
        call.cancel()
    assert peer.execute(put_script(peer, "echo alive")).result.exit_code == 0
