from __future__ import annotations

import time
from collections.abc import Iterable

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import command, put_action, put_script
from tests.protocol.peer import CALL_SECONDS, Executed, Peer, operation_metadata

Stage = reapi.ExecutionStage


def started(result: reapi.ActionResult) -> int:
    """When the action itself began, in nanoseconds."""
    return result.execution_metadata.execution_start_timestamp.ToNanoseconds()


def both(peer: Peer, requests: Iterable[reapi.ExecuteRequest]) -> list[Executed]:
    """Execute `requests` at the same time."""
    calls = [peer.execution.Execute(request, timeout=CALL_SECONDS) for request in requests]
    return [Executed(list(call)) for call in calls]


def test_identical_actions_in_flight_run_once(each: Peer) -> None:
    request = each.execute_request(put_script(each, "sleep 1; echo ran"))
    first, second = both(each, [request, request])
    assert started(first.result) == started(second.result)
    assert first.name != second.name


def test_actions_that_are_not_to_be_cached_are_not_merged(each: Peer) -> None:
    # REAPI rule: do_not_cache also forbids merging in flight.
    action = put_action(each, command("sleep 1"), do_not_cache=True)
    first, second = both(each, [each.execute_request(action)] * 2)
    assert started(first.result) != started(second.result)


def test_a_request_without_lookup_does_not_join_what_began_before_it(each: Peer) -> None:
    # REAPI rule: skip_cache_lookup may merge only with executions begun after the request.
    action = put_script(each, "sleep 2")
    call = each.execution.Execute(each.execute_request(action), timeout=CALL_SECONDS)
    operations = []
    for operation in call:
        operations.append(operation)
        if operation_metadata(operation).stage == Stage.EXECUTING:
            break
    asked = time.time_ns()
    fresh = each.execute(action, skip_cache_lookup=True)
    assert started(fresh.result) > asked
    assert Executed([*operations, *call]).result.exit_code == 0
