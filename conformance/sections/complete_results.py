"""Whether the action cache gives results of which something is gone."""

from __future__ import annotations

from grpc import StatusCode

from conformance import needs
from conformance.check import SHOULD, Section
from conformance.refusal import Refused
from conformance.results import Outputs, put_action
from conformance.target import Target, unique
from conformance.trees import Tree, encoded, small_tree
from conformance.violation import refused
from protos import remote_execution_pb2 as reapi

check = Section("action_cache", (needs.cache, needs.updates))


async def _expect_no_hit(target: Target, result: reapi.ActionResult) -> None:
    """Expect that a result that refers to what is not there is refused, or not found later."""
    action = await put_action(target)
    result.execution_metadata.worker = "conformance"
    try:
        await target.update_result(action, result)
    except Refused:
        return
    with refused(StatusCode.NOT_FOUND):
        await target.result_of(action)


async def _result_of_both_forms(target: Target, tree: Tree) -> reapi.ActionResult:
    """Upload the Tree alone; return a result that names it and the root directory."""
    message = reapi.Tree(root=tree.root, children=tree.directories[1:])
    result = reapi.ActionResult()
    result.output_directories.add(
        path="d",
        tree_digest=await target.put_message(message),
        root_directory_digest=target.digest(encoded(tree.root)),
    )
    return result


@check(
    SHOULD,
    "GetActionResult gives no result of which an output file is not there.",
    source="ActionCache.GetActionResult, l.158-170",
)
async def output_files_are_looked_for(target: Target) -> None:
    result = reapi.ActionResult()
    result.output_files.add(path="f", digest=target.digest(unique()))
    await _expect_no_hit(target, result)


@check(
    SHOULD,
    "GetActionResult gives no result of which stdout is not there.",
    source="ActionCache.GetActionResult, l.158-170",
)
async def stdout_is_looked_for(target: Target) -> None:
    await _expect_no_hit(target, reapi.ActionResult(stdout_digest=target.digest(unique())))


@check(
    SHOULD,
    "GetActionResult gives no result of which stderr is not there.",
    source="ActionCache.GetActionResult, l.158-170",
)
async def stderr_is_looked_for(target: Target) -> None:
    await _expect_no_hit(target, reapi.ActionResult(stderr_digest=target.digest(unique())))


@check(
    SHOULD,
    "GetActionResult gives no result of which a Tree is not there.",
    source="ActionCache.GetActionResult, l.158-170",
)
async def trees_are_looked_for(target: Target) -> None:
    result = reapi.ActionResult()
    result.output_directories.add(path="d", tree_digest=target.digest(unique()))
    await _expect_no_hit(target, result)


@check(
    SHOULD,
    "GetActionResult gives no result of which a file that a Tree names is not there.",
    source="ActionCache.GetActionResult, l.158-170",
)
async def files_of_trees_are_looked_for(target: Target) -> None:
    outputs = Outputs.made(target)
    await target.put(outputs.file, outputs.stdout, outputs.stderr, outputs.tree.files[1])
    await target.put(encoded(outputs.message()))
    await _expect_no_hit(target, outputs.result(target))


@check(
    SHOULD,
    "GetActionResult gives no result of which a root directory is not there.",
    source="ActionCache.GetActionResult, l.158-170; OutputDirectory, l.1454-1461",
    needs=[needs.version(2, 3)],
)
async def root_directories_are_looked_for(target: Target) -> None:
    tree = small_tree(target.function)
    await target.put(*tree.files, *tree.encoded()[1:])
    await _expect_no_hit(target, await _result_of_both_forms(target, tree))


@check(
    SHOULD,
    "GetActionResult gives no result of which a directory below a root directory is not there.",
    source="ActionCache.GetActionResult, l.158-170; OutputDirectory, l.1454-1461",
    needs=[needs.version(2, 3)],
)
async def directories_below_are_looked_for(target: Target) -> None:
    tree = small_tree(target.function)
    await target.put(*tree.files, *tree.encoded()[:2])
    await _expect_no_hit(target, await _result_of_both_forms(target, tree))


@check(
    SHOULD,
    "GetActionResult gives no result of which a file below a root directory is not there.",
    source="ActionCache.GetActionResult, l.158-170; OutputDirectory, l.1454-1461",
    needs=[needs.version(2, 3)],
)
async def files_below_are_looked_for(target: Target) -> None:
    tree = small_tree(target.function)
    await target.put(*tree.files[1:], *tree.encoded())
    await _expect_no_hit(target, await _result_of_both_forms(target, tree))


@check(
    SHOULD,
    "UpdateActionResult for an Action that was never uploaded is FAILED_PRECONDITION.",
    source="ActionCache.UpdateActionResult, l.174-193",
)
async def the_action_is_looked_for(target: Target) -> None:
    result = reapi.ActionResult(
        execution_metadata=reapi.ExecutedActionMetadata(worker="conformance")
    )
    with refused(StatusCode.FAILED_PRECONDITION):
        await target.update_result(target.digest(unique()), result)


@check(
    SHOULD,
    "UpdateActionResult for an Action whose Command was never uploaded is FAILED_PRECONDITION.",
    source="ActionCache.UpdateActionResult, l.174-193",
)
async def the_command_is_looked_for(target: Target) -> None:
    action = reapi.Action(
        command_digest=target.digest(unique()),
        input_root_digest=await target.put_message(reapi.Directory()),
    )
    result = reapi.ActionResult(
        execution_metadata=reapi.ExecutedActionMetadata(worker="conformance")
    )
    with refused(StatusCode.FAILED_PRECONDITION):
        await target.update_result(await target.put_message(action), result)
