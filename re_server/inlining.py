"""Contents put into an action result, for clients that ask for them."""

from __future__ import annotations

from cas.digest import Digest, DigestFunction
from cas.store import BlobStore
from cas.wire import digest_from
from protos import remote_execution_pb2 as reapi

InlineHints = reapi.GetActionResultRequest | reapi.ExecuteRequest


async def inlined(
    result: reapi.ActionResult,
    request: InlineHints,
    *,
    function: DigestFunction,
    blobs: BlobStore,
    max_bytes: int,
) -> reapi.ActionResult:
    """Return `result` with what `request` asks to have in it, as far as `max_bytes` go.

    Source: remote_execution.proto, GetActionResultRequest and ExecuteRequest: inlining is a hint,
    and a message stays within what clients accept.
    """
    wanted = _wanted(result, request, function)
    chosen: dict[str, Digest] = {}
    for name, digest in wanted:
        if digest.size <= max_bytes:
            chosen[name] = digest
            max_bytes -= digest.size
    if not chosen:
        return result
    found = await blobs.read_many(set(chosen.values()))
    filled = reapi.ActionResult()
    filled.CopyFrom(result)
    contents = {name: found[digest] for name, digest in chosen.items() if digest in found}
    for file in filled.output_files:
        file.contents = contents.get(f"/{file.path}", file.contents)
    filled.stdout_raw = contents.get("stdout", filled.stdout_raw)
    filled.stderr_raw = contents.get("stderr", filled.stderr_raw)
    return filled


def _wanted(
    result: reapi.ActionResult, request: InlineHints, function: DigestFunction
) -> list[tuple[str, Digest]]:
    """Name what is asked for: `stdout`, `stderr`, then files by path after a slash."""
    wanted: list[tuple[str, Digest]] = []
    if request.inline_stdout and result.HasField("stdout_digest") and not result.stdout_raw:
        wanted.append(("stdout", digest_from(result.stdout_digest, function)))
    if request.inline_stderr and result.HasField("stderr_digest") and not result.stderr_raw:
        wanted.append(("stderr", digest_from(result.stderr_digest, function)))
    asked = set(request.inline_output_files)
    wanted += [
        (f"/{file.path}", digest_from(file.digest, function))
        for file in result.output_files
        if file.path in asked
    ]
    return wanted
