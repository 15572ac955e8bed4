"""Execute: streams of operations, results, caching, time-outs."""

from __future__ import annotations

import asyncio

from google.rpc import code_pb2
from grpc import StatusCode

from conformance import methods, needs
from conformance.actions import (
    DIFFERENT_EACH_TIME,
    EMPTY,
    Executed,
    execute,
    put_action,
    request_for,
    run,
    script,
    stderr_of,
    stdout_of,
)
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.digests import key
from conformance.refusal import CODES, Refused
from conformance.target import Target
from conformance.violation import NotApplicable, expect, refused
from protos import remote_execution_pb2 as reapi

check = Section("execution", (needs.execution,))

_STAGE = reapi.ExecutionStage
MANY = 30  # executions at the same time
LONGEST_TIMEOUT_SECONDS = 315_000_000_000  # google.protobuf.Duration holds hardly more
MANY_SECONDS = 120.0


@check(
    MUST,
    "Execute runs the command, and answers its exit code, stdout and stderr.",
    source="Execution.Execute, l.47-56; ActionResult, l.1177-1184",
)
async def a_command_is_run(target: Target) -> None:
    result = (await run(target, "echo said; echo complained >&2")).result
    expect(result.exit_code == 0, f"exit code {result.exit_code}")
    expect(await stdout_of(target, result) == b"said\n", "stdout is another")
    expect(await stderr_of(target, result) == b"complained\n", "stderr is another")


@check(
    MUST,
    "Every message of Execute is an Operation of one name, with ExecuteOperationMetadata.",
    source="Execution.Execute, l.64-69",
)
async def operations_have_one_name(target: Target) -> None:
    executed = await run(target, "sleep 0.2")
    names = {operation.name for operation in executed.operations}
    expect(len(names) == 1, f"operations of one stream are called {names}")
    expect(names != {""}, "the operation has no name")
    expect(len(executed.metadata) == len(executed.operations), "there is no metadata")


@check(
    MUST,
    "An operation is done if and only if its stage is COMPLETED; then the stream ends.",
    source="ExecutionStage, l.1631-1643",
)
async def done_is_completed(target: Target) -> None:
    executed = await run(target, "sleep 0.2")
    for operation, metadata in zip(executed.operations, executed.metadata, strict=True):
        stage = _STAGE.Value.Name(metadata.stage)
        completed = metadata.stage == _STAGE.COMPLETED
        expect(completed == operation.done, f"done is {operation.done} in stage {stage}")
    done = [operation.done for operation in executed.operations]
    expect(done.count(True) == 1, "the stream goes on after the operation is done")
    expect(done[-1], "the stream ends before the operation is done")


@check(
    MUST,
    "Operation.error is never set, and the response is an ExecuteResponse.",
    source="Execution.Execute, l.83-84; ExecuteResponse.status, l.1605-1615",
)
async def errors_are_no_operations_errors(target: Target) -> None:
    for text in ("true", "exit 3"):
        executed = await run(target, text)
        expect(not any(each.HasField("error") for each in executed.operations), "error is set")
        expect(executed.response.HasField("result"), "there is no result")


@check(
    MUST,
    "The metadata name the action that is executed.",
    source="ExecuteOperationMetadata.action_digest, l.1671-1673",
)
async def metadata_name_the_action(target: Target) -> None:
    action = await put_action(target, script("true"))
    for metadata in (await execute(target, action)).metadata:
        if metadata.HasField("action_digest"):
            expect(key(metadata.action_digest) == key(action), "another action is named")


@check(
    MUST,
    "A command that fails is executed: status OK, and its exit code in the result.",
    source="ExecuteResponse.status, l.1605-1615; ActionResult.exit_code, l.1320-1321",
)
async def a_failure_is_a_result(target: Target) -> None:
    response = (await run(target, "echo why >&2; exit 42")).response
    code = CODES[response.status.code]
    expect(code == StatusCode.OK, f"status {code.name} for a command that exits with 42")
    expect(response.result.exit_code == 42, f"exit code {response.result.exit_code}")  # noqa: PLR2004
    expect(await stderr_of(target, response.result) == b"why\n", "stderr is another")


@check(
    SHOULD,
    "A result that was executed answers the next Execute of the same action, and says so.",
    source="Action, l.596-607; ExecuteResponse.cached_result, l.1602-1603",
)
async def results_are_cached(target: Target) -> None:
    action = await put_action(target, script(DIFFERENT_EACH_TIME))
    first = await execute(target, action)
    second = await execute(target, action)
    expect(not first.response.cached_result, "the first result is said to be cached")
    expect(second.response.cached_result, "the second is not said to be cached")
    same = await stdout_of(target, first.result) == await stdout_of(target, second.result)
    expect(same, "the second is another result")


@check(
    MUST,
    "cached_result is set for no result that was executed for this very request.",
    source="ExecuteResponse, l.1602-1603; ExecuteRequest, l.1526-1539",
)
async def only_cached_results_are_called_so(target: Target) -> None:
    executed = await run(target, "true")
    expect(not executed.response.cached_result, "the result of a new action is called cached")


@check(
    MUST,
    "skip_cache_lookup executes the action again: the result is one that was not there before.",
    source="ExecuteRequest.skip_cache_lookup, l.1526-1539",
)
async def cached_results_can_be_skipped(target: Target) -> None:
    action = await put_action(target, script(DIFFERENT_EACH_TIME))
    first = await stdout_of(target, (await execute(target, action)).result)
    again = await execute(target, action, skip_cache_lookup=True)
    expect(not again.response.cached_result, "the result is called cached")
    expect(await stdout_of(target, again.result) != first, "it is the result from before")


@check(
    SHOULD,
    "What skip_cache_lookup brings replaces the cached result.",
    source="ExecuteRequest.skip_cache_lookup, l.1526-1539",
)
async def skipping_replaces_what_was_cached(target: Target) -> None:
    action = await put_action(target, script(DIFFERENT_EACH_TIME))
    await execute(target, action)
    again = (await execute(target, action, skip_cache_lookup=True)).result
    cached = await target.result_of(action)
    same = await stdout_of(target, cached) == await stdout_of(target, again)
    expect(same, "the cached result is still the one from before")


@check(
    MUST,
    "do_not_cache: the result is not in the action cache, and the next Execute runs again.",
    source="Action.do_not_cache, l.651-653",
)
async def do_not_cache_is_heeded(target: Target) -> None:
    action = await put_action(target, script(DIFFERENT_EACH_TIME), do_not_cache=True)
    first = await execute(target, action)
    with refused(StatusCode.NOT_FOUND):
        await target.result_of(action)
    second = await execute(target, action)
    expect(not second.response.cached_result, "the second result is called cached")
    same = await stdout_of(target, first.result) == await stdout_of(target, second.result)
    expect(not same, "the second is the first's result")


@check(
    MUST,
    "do_not_cache: executions of the same action at the same time are not merged.",
    source="Action.do_not_cache, l.651-653",
)
async def do_not_cache_forbids_merging(target: Target) -> None:
    command = script(f"sleep 0.5; {DIFFERENT_EACH_TIME}")
    action = await put_action(target, command, do_not_cache=True)
    first, second = await _together(target, action, action)
    same = await stdout_of(target, first.result) == await stdout_of(target, second.result)
    expect(not same, "both requests got one execution's result")


async def _together(target: Target, *actions: reapi.Digest) -> list[Executed]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(execute(target, action)) for action in actions]
    return [each.result() for each in running]


@check(
    MUST,
    "Two who execute the same action at the same time both get a result.",
    source="Execution.Execute, l.114-117",
)
async def an_action_may_be_executed_twice_at_once(target: Target) -> None:
    action = await put_action(target, script("sleep 0.3; echo done"))
    for executed in await _together(target, action, action):
        expect(await stdout_of(target, executed.result) == b"done\n", "stdout is another")


@check(
    MUST,
    "An action that runs longer than its timeout ends with DEADLINE_EXCEEDED in the response's "
    "status.",
    source="Action.timeout, l.625-649; ExecuteResponse.status, l.1605-1615",
)
async def a_timeout_ends_an_action(target: Target) -> None:
    action = await put_action(target, script("echo before; sleep 60"), timeout_seconds=1)
    code = CODES[(await execute(target, action)).response.status.code]
    expect(code == StatusCode.DEADLINE_EXCEEDED, f"the status is {code.name}")


@check(
    MUST,
    "What ended with a status other than OK is not cached.",
    source="ExecuteResponse.status, l.1605-1615",
)
async def timeouts_are_not_cached(target: Target) -> None:
    action = await put_action(target, script("sleep 60"), timeout_seconds=0.5)
    response = (await execute(target, action)).response
    expect(response.status.code != code_pb2.OK, "an action of 60 s ended well within 0.5 s")
    with refused(StatusCode.NOT_FOUND):
        await target.result_of(action)


@check(
    SHOULD,
    "What a command said before its timeout is kept.",
    source="ExecuteResponse.status, l.1605-1615",
)
async def output_before_a_timeout_is_kept(target: Target) -> None:
    action = await put_action(target, script("echo before; sleep 60"), timeout_seconds=1)
    response = (await execute(target, action)).response
    expect(await stdout_of(target, response.result) == b"before\n", "stdout is another")


@check(
    MUST,
    "An action whose timeout is not reached is not ended by it.",
    source="Action.timeout, l.625-649",
)
async def a_timeout_that_suffices_changes_nothing(target: Target) -> None:
    action = await put_action(target, script("sleep 0.2; echo done"), timeout_seconds=15)
    expect(await stdout_of(target, (await execute(target, action)).result) == b"done\n", "no")


@check(
    MUST,
    "A timeout that is longer than the server's longest is refused, or granted where there is "
    "none: it is not cut down to what then ends the action.",
    source="Action.timeout, l.625-630",
)
async def a_long_timeout_is_refused_or_granted(target: Target) -> None:
    action = await put_action(target, script("sleep 1"), timeout_seconds=LONGEST_TIMEOUT_SECONDS)
    try:
        code = CODES[(await execute(target, action)).response.status.code]
    except Refused as error:
        code = error.code
    expect(code != StatusCode.DEADLINE_EXCEEDED, "the action timed out after a second")


@check(
    SHOULD,
    "A result names its worker, and its times are in order.",
    source="ExecutedActionMetadata, l.1120-1121; ActionResult, l.1177-1184",
)
async def results_say_who_and_when(target: Target) -> None:
    metadata = (await run(target, "true")).result.execution_metadata
    expect(metadata.worker, "the worker is not named")
    times = [
        metadata.queued_timestamp,
        metadata.worker_start_timestamp,
        metadata.execution_start_timestamp,
        metadata.execution_completed_timestamp,
        metadata.worker_completed_timestamp,
    ]
    moments = [time.ToNanoseconds() for time in times if time.seconds]
    expect(moments, "no times are given")
    expect(moments == sorted(moments), "the times are not in order")


@check(
    MUST,
    "inline_stdout is a hint: stdout comes inline or by digest, and is right.",
    source="ExecuteRequest.inline_stdout, l.1565-1567",
)
async def inlining_is_a_hint(target: Target) -> None:
    request = request_for(target, await put_action(target, script("echo a; echo b >&2")))
    request.inline_stdout = request.inline_stderr = True
    result = Executed(await target.collect(methods.EXECUTE, request)).result
    expect(await stdout_of(target, result) == b"a\n", "stdout is another")
    expect(await stderr_of(target, result) == b"b\n", "stderr is another")


@check(
    SHOULD,
    "Large outputs of a command come by digest, and no message is larger than gRPC's 4 MiB.",
    source="ActionResult.stdout_raw, l.1323-1329",
)
async def large_outputs_stay_out_of_messages(target: Target) -> None:
    text = "head -c 5000000 /dev/zero | tr '\\0' x"
    request = request_for(target, await put_action(target, script(text)))
    request.inline_stdout = True
    executed = Executed(await target.collect(methods.EXECUTE, request))
    largest = max(operation.ByteSize() for operation in executed.operations)
    expect(largest <= 4 << 20, f"a message has {largest} bytes")
    expect(await stdout_of(target, executed.result) == b"x" * 5_000_000, "stdout is another")


@check(
    MUST,
    "A result is named in the digest function of its action.",
    source="ExecutionCapabilities.digest_functions, l.2450-2462",
)
async def results_are_of_the_actions_function(target: Target) -> None:
    result = (await run(target, "printf data > out", "out")).result
    (file,) = result.output_files
    expect(key(file.digest) == key(target.digest(b"data")), f"the digest is {file.digest.hash}")


@check(
    SHOULD,
    "Execute infers the digest function from the hash's length if it is not named.",
    source="ExecuteRequest.digest_function, l.1556-1563",
)
async def execution_needs_no_named_function(target: Target) -> None:
    if not target.function.inferred:
        raise NotApplicable(f"{target.function.name} has to be named")
    action = await put_action(target, script("echo done"))
    request = reapi.ExecuteRequest(instance_name=target.instance, action_digest=action)
    executed = Executed(await target.collect(methods.EXECUTE, request))
    expect(await stdout_of(target, executed.result) == b"done\n", "stdout is another")


@check(
    MUST,
    "Logs of the server's that a response names can be read.",
    source="ExecuteResponse.server_logs, l.1617-1624",
)
async def server_logs_can_be_read(target: Target) -> None:
    for text in ("true", "false"):
        for log in (await run(target, text)).response.server_logs.values():
            await target.fetch(log.digest)


@check(
    ROBUSTNESS,
    "Many who execute at the same time are all answered.",
    source="Execution.Execute, l.45-118",
    seconds=MANY_SECONDS,
)
async def many_executions_are_answered(target: Target) -> None:
    actions = [await put_action(target, script("echo done"), EMPTY) for _ in range(MANY)]
    for executed in await _together(target, *actions):
        expect(await stdout_of(target, executed.result) == b"done\n", "stdout is another")
