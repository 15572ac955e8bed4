"""What an action result refers to, so that a hit can be checked to be complete."""

from __future__ import annotations

from collections.abc import Iterator

from action_cache.results import Kept
from cas.digest import Digest, DigestFunction
from cas.store import BlobStore
from cas.tree import (
    MissingInputs,
    TreeLimits,
    TreeTooLarge,
    load_inputs,
    parse_tree,
    tree_files,
)
from cas.wire import digest_from
from protos import remote_execution_pb2 as reapi


async def complete(
    result: reapi.ActionResult, function: DigestFunction, store: BlobStore, limits: TreeLimits
) -> Kept:
    """Find all that `result` refers to, and lease it.

    Source: remote_execution.proto, ActionCache.GetActionResult: all that a result refers to,
    through its Trees and directories too, is there when it is returned.
    Raises MissingInputs with all that is not there; InvalidDigest; InvalidMessage; TreeTooLarge.
    """
    direct = set(_direct(result, function))
    trees = {
        digest_from(output.tree_digest, function)
        for output in result.output_directories
        if output.HasField("tree_digest")
    }
    if sum(tree.size for tree in trees) > limits.bytes:
        raise TreeTooLarge(f"the Trees of the result have more than {limits.bytes} bytes")
    found = await store.read_many(trees)
    references = direct | trees
    for digest, data in found.items():
        references |= tree_files(parse_tree(data, digest), function)
    missing = await store.find_missing(references)
    for output in result.output_directories:
        if output.HasField("root_directory_digest"):
            root = digest_from(output.root_directory_digest, function)
            try:
                inputs = await load_inputs(store, root, limits)
            except MissingInputs as error:
                missing |= set(error.digests)
            else:
                references |= inputs.files | inputs.directories.keys()
    if missing:
        raise MissingInputs(missing)
    return Kept(result.SerializeToString(deterministic=True), frozenset(references))


def _direct(result: reapi.ActionResult, function: DigestFunction) -> Iterator[Digest]:
    for file in result.output_files:
        yield digest_from(file.digest, function)
    if result.HasField("stdout_digest"):
        yield digest_from(result.stdout_digest, function)
    if result.HasField("stderr_digest"):
        yield digest_from(result.stderr_digest, function)
