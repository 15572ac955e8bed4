"""GetActionResult and UpdateActionResult."""

from __future__ import annotations

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.digests import key
from conformance.refusal import BAD_INPUT, Refused
from conformance.results import Outputs, put_action
from conformance.target import Target, unique
from conformance.violation import NotApplicable, expect, refused
from protos import remote_execution_pb2 as reapi

check = Section("action_cache", (needs.cache,))

_UPDATES = [needs.updates]


@check(
    MUST,
    "GetActionResult of an action that has no result is NOT_FOUND.",
    source="ActionCache.GetActionResult, l.158-170",
)
async def an_absent_result_is_not_found(target: Target) -> None:
    with refused(StatusCode.NOT_FOUND):
        await target.result_of(target.digest(unique()))


@check(
    MUST,
    "GetActionResult of an action that is stored, but has no result, is NOT_FOUND.",
    source="ActionCache.GetActionResult, l.158-170",
)
async def an_action_without_result_is_not_found(target: Target) -> None:
    with refused(StatusCode.NOT_FOUND):
        await target.result_of(await put_action(target))


@check(
    MUST,
    "UpdateActionResult is answered with the result, as it is kept.",
    source="ActionCache.UpdateActionResult, l.183-184",
    needs=_UPDATES,
)
async def an_update_answers_the_result(target: Target) -> None:
    action, result = await put_action(target), await Outputs.made(target).put(target)
    answered = await target.update_result(action, result)
    _expect_same_outputs(answered, result)


def _expect_same_outputs(got: reapi.ActionResult, put: reapi.ActionResult) -> None:
    """Expect what clients rely on; servers may change the rest into what is equivalent."""
    files = {each.path: (key(each.digest), each.is_executable) for each in got.output_files}
    wanted = {each.path: (key(each.digest), each.is_executable) for each in put.output_files}
    expect(files == wanted, "the output files are others")
    trees = {each.path: key(each.tree_digest) for each in got.output_directories}
    expect(
        trees == {each.path: key(each.tree_digest) for each in put.output_directories},
        "the output directories are others",
    )
    links = {each.path: each.target for each in got.output_symlinks}
    expect(
        links == {each.path: each.target for each in put.output_symlinks},
        "the output symlinks are others",
    )
    expect(got.exit_code == put.exit_code, f"exit code {got.exit_code}, not {put.exit_code}")


@check(
    MUST,
    "GetActionResult gives what UpdateActionResult put there.",
    source="ActionCache, l.144-152",
    needs=_UPDATES,
)
async def a_result_is_found_again(target: Target) -> None:
    action, outputs = await put_action(target), Outputs.made(target)
    result = await outputs.put(target)
    await target.update_result(action, result)
    got = await target.result_of(action)
    _expect_same_outputs(got, result)
    for digest, raw, data in (
        (got.stdout_digest, got.stdout_raw, outputs.stdout),
        (got.stderr_digest, got.stderr_raw, outputs.stderr),
    ):
        expect(raw == data or key(digest) == key(target.digest(data)), "stdout or stderr differ")


@check(
    SHOULD,
    "What a result refers to can be read once it was given.",
    source="ActionCache.GetActionResult, l.158-170",
    needs=_UPDATES,
)
async def outputs_of_a_result_are_there(target: Target) -> None:
    action, outputs = await put_action(target), Outputs.made(target)
    await target.update_result(action, await outputs.put(target))
    got = await target.result_of(action)
    expect(await target.fetch(got.output_files[0].digest) == outputs.file, "another file")
    tree = reapi.Tree.FromString(await target.fetch(got.output_directories[0].tree_digest))
    expect(tree == outputs.message(), "another tree")


@check(
    MUST,
    "An action's size is a part of its name: GetActionResult with a wrong size gives no result.",
    source="Digest, l.1083-1085",
    needs=_UPDATES,
)
async def a_wrong_size_has_no_result(target: Target) -> None:
    action = await put_action(target)
    await target.update_result(action, await Outputs.made(target).put(target))
    wrong = reapi.Digest(hash=action.hash, size_bytes=action.size_bytes + 1)
    with refused():
        await target.result_of(wrong)


@check(
    SHOULD,
    "UpdateActionResult of another result is taken, or refused, or answered with what is kept; "
    "GetActionResult then gives what was answered.",
    source="ActionCache.UpdateActionResult, l.183-184",
    needs=_UPDATES,
)
async def what_an_update_answers_is_kept(target: Target) -> None:
    action = await put_action(target)
    first = await target.update_result(action, await Outputs.made(target).put(target))
    try:
        kept = await target.update_result(action, await Outputs.made(target).put(target))
    except Refused:
        kept = first
    _expect_same_outputs(await target.result_of(action), kept)


@check(
    MUST,
    "Symlinks of a result come back with it.",
    source="ActionResult.output_symlinks, l.1220-1234",
    needs=[*_UPDATES, needs.version(2, 1)],
)
async def symlinks_are_kept(target: Target) -> None:
    action = await put_action(target)
    result = reapi.ActionResult(
        execution_metadata=reapi.ExecutedActionMetadata(worker="conformance")
    )
    result.output_symlinks.add(path="link", target="to/somewhere")
    await target.update_result(action, result)
    _expect_same_outputs(await target.result_of(action), result)


@check(
    SHOULD,
    "Metadata of an execution come back byte for byte, auxiliary ones included.",
    source="ExecutedActionMetadata.auxiliary_metadata, l.1171-1174",
    needs=_UPDATES,
)
async def execution_metadata_are_kept(target: Target) -> None:
    action = await put_action(target)
    result = reapi.ActionResult(
        execution_metadata=reapi.ExecutedActionMetadata(worker="some worker")
    )
    result.execution_metadata.execution_start_timestamp.FromSeconds(1_700_000_000)
    own = result.execution_metadata.auxiliary_metadata.add()
    own.type_url, own.value = "type.example/of.ours", unique()
    await target.update_result(action, result)
    got = (await target.result_of(action)).execution_metadata
    expect(got.worker == "some worker", f"the worker is {got.worker!r} now")
    expect(own in got.auxiliary_metadata, "the auxiliary metadata are gone or changed")


@check(
    SHOULD,
    "A result that is nothing but default values is given with something in it, or not found.",
    source="ActionResult, l.1177-1184",
    needs=_UPDATES,
)
async def results_are_not_empty_messages(target: Target) -> None:
    action = await put_action(target)
    await target.update_result(action, reapi.ActionResult())
    try:
        got = await target.result_of(action)
    except Refused as error:
        expect(error.code == StatusCode.NOT_FOUND, f"{error.code.name} was answered")
        return
    expect(got.ByteSize(), "the result is an empty message")


@check(
    SHOULD,
    "GetActionResult gives no stdout or stderr inline that nobody asked for.",
    source="ActionResult.stdout_raw, l.1323-1329; ActionResult.stderr_raw, l.1336-1342",
    needs=_UPDATES,
)
async def nothing_is_inlined_unasked(target: Target) -> None:
    action = await put_action(target)
    await target.update_result(action, await Outputs.made(target).put(target))
    got = await target.result_of(action)
    expect(not got.stdout_raw, "stdout is inlined")
    expect(not got.stderr_raw, "stderr is inlined")
    expect(not any(each.contents for each in got.output_files), "a file is inlined")


@check(
    MUST,
    "GetActionResult that is asked for inlined outputs gives their very bytes, or none; the "
    "digests stay.",
    source="GetActionResultRequest.inline_stdout, l.1721-1723 and l.1729-1733",
    needs=_UPDATES,
)
async def what_is_inlined_is_right(target: Target) -> None:
    action, outputs = await put_action(target), Outputs.made(target)
    await target.update_result(action, await outputs.put(target))
    request = target.named(
        reapi.GetActionResultRequest(
            action_digest=action,
            inline_stdout=True,
            inline_stderr=True,
            inline_output_files=["bin/file"],
        )
    )
    got = await target.call(methods.GET_RESULT, request)
    expect(got.stdout_raw in {b"", outputs.stdout}, "another stdout is inlined")
    expect(got.stderr_raw in {b"", outputs.stderr}, "another stderr is inlined")
    (file,) = got.output_files
    expect(file.contents in {b"", outputs.file}, "other contents of a file are inlined")
    expect(key(file.digest) == key(target.digest(outputs.file)), "the file's digest is another")


@check(
    SHOULD,
    "GetActionResult inlines nothing that makes the reply larger than messages may be.",
    source="ActionResult.stdout_raw, l.1323-1329",
    needs=_UPDATES,
)
async def inlining_stays_within_messages(target: Target) -> None:
    action, large = await put_action(target), unique(5 << 20)
    result = reapi.ActionResult(
        stdout_digest=await target.put_one(large),
        execution_metadata=reapi.ExecutedActionMetadata(worker="conformance"),
    )
    result.output_files.add(path="large", digest=result.stdout_digest)
    await target.update_result(action, result)
    request = target.named(
        reapi.GetActionResultRequest(
            action_digest=action, inline_stdout=True, inline_output_files=["large"]
        )
    )
    got = await target.call(methods.GET_RESULT, request)
    expect(got.ByteSize() <= 4 << 20, f"the reply has {got.ByteSize()} bytes: over gRPC's 4 MiB")


@check(
    SHOULD,
    "GetActionResult infers the digest function from the hash's length if it is not named.",
    source="GetActionResultRequest.digest_function, l.1735-1742",
    needs=_UPDATES,
)
async def results_need_no_named_function(target: Target) -> None:
    if not target.function.inferred:
        raise NotApplicable(f"{target.function.name} has to be named")
    action, result = await put_action(target), await Outputs.made(target).put(target)
    unnamed = reapi.UpdateActionResultRequest(
        instance_name=target.instance, action_digest=action, action_result=result
    )
    await target.call(methods.UPDATE_RESULT, unnamed)
    _expect_same_outputs(await target.result_of(action), result)
    request = reapi.GetActionResultRequest(instance_name=target.instance, action_digest=action)
    _expect_same_outputs(await target.call(methods.GET_RESULT, request), result)


@check(
    SHOULD,
    "UpdateActionResult where update_enabled is false is refused.",
    source="ActionCacheUpdateCapabilities, l.2220-2221",
    needs=[needs.no_updates],
)
async def updates_that_are_not_offered_are_refused(target: Target) -> None:
    action = await put_action(target)
    with refused(
        StatusCode.PERMISSION_DENIED,
        StatusCode.UNAUTHENTICATED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.INVALID_ARGUMENT,
    ):
        await target.update_result(action, reapi.ActionResult(exit_code=1))


@check(
    ROBUSTNESS,
    "GetActionResult of an action whose blob is no Action is NOT_FOUND or an error that blames "
    "the request.",
    source="ActionCache.GetActionResult, l.158-170",
)
async def a_malformed_action_has_no_result(target: Target) -> None:
    with refused(*BAD_INPUT):
        await target.result_of(await target.put_one(b"\xff" * 40))


@check(
    ROBUSTNESS,
    "UpdateActionResult with digests that are none is refused, or its result never given.",
    source="Digest, l.1080-1111",
    needs=_UPDATES,
)
async def results_of_malformed_digests_are_not_given(target: Target) -> None:
    action = await put_action(target)
    result = reapi.ActionResult(
        execution_metadata=reapi.ExecutedActionMetadata(worker="conformance")
    )
    result.output_files.add(path="f", digest=reapi.Digest(hash="../../etc", size_bytes=-5))
    with refused(*BAD_INPUT):
        await target.update_result(action, result)
        await target.result_of(action)


@check(
    ROBUSTNESS,
    "UpdateActionResult and GetActionResult without an action's digest are refused.",
    source="GetActionResultRequest.action_digest, l.1717-1719",
)
async def an_action_has_to_be_named(target: Target) -> None:
    with refused(*BAD_INPUT):
        await target.call(methods.GET_RESULT, target.named(reapi.GetActionResultRequest()))
    with refused(*BAD_INPUT):
        await target.call(methods.UPDATE_RESULT, target.named(reapi.UpdateActionResultRequest()))
