"""What an action result refers to, so that a hit can be checked to be complete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from action_cache.results import Kept
from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.store import BlobStore
from cas.tree import (
    InvalidMessage,
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
    parsed = {digest: parse_tree(data, digest) for digest, data in found.items()}
    for tree in parsed.values():
        references |= tree_files(tree, function)
    _check_roots(result, parsed, function)
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


def _check_roots(
    result: reapi.ActionResult, trees: Mapping[Digest, reapi.Tree], function: DigestFunction
) -> None:
    """Raise InvalidMessage where an output's two forms are not of one directory.

    Source: remote_execution.proto, OutputDirectory.root_directory_digest.
    """
    for output in result.output_directories:
        if not output.HasField("root_directory_digest") or not output.HasField("tree_digest"):
            continue
        tree = trees.get(digest_from(output.tree_digest, function))
        if tree is None:
            continue
        found = Digest.of(tree.root.SerializeToString(deterministic=True), function)
        if found != digest_from(output.root_directory_digest, function):
            raise InvalidMessage(
                f"output_directories: {output.path!r}: root_directory_digest is not that of the "
                f"Tree's root, {found}"
            )


def _direct(result: reapi.ActionResult, function: DigestFunction) -> Iterator[Digest]:
    for file in result.output_files:
        yield _named(file.digest, function, f"output_files: {file.path!r}")
    if result.HasField("stdout_digest"):
        yield _named(result.stdout_digest, function, "stdout_digest")
    if result.HasField("stderr_digest"):
        yield _named(result.stderr_digest, function, "stderr_digest")


def _named(message: reapi.Digest, function: DigestFunction, field: str) -> Digest:
    try:
        return digest_from(message, function)
    except InvalidDigest as error:
        raise InvalidDigest(f"action_result.{field}: {error}") from None
