"""One command line, as an Action, and what came of it, as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cas.digest import Digest, DigestFunction
from cas.folder import Blobs, put_message
from cas.store import BlobStore
from cas.tree import parse_tree
from cas.wire import digest_from, digest_to
from protos import remote_execution_pb2 as reapi
from re_client.download import Plan, unfolded


class InvalidPath(ValueError):
    """A path that would lead out of the folder it is in."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What to run.

    outputs: paths relative to working_directory, which is relative to the input root.
    timeout_seconds: bound on the running time; None: the server's.
    """

    arguments: Sequence[str]
    outputs: Sequence[str] = ()
    environment: Sequence[tuple[str, str]] = ()
    platform: Sequence[tuple[str, str]] = ()
    working_directory: str = ""
    timeout_seconds: float | None = None
    do_not_cache: bool = False


def to_action(line: CommandLine, root: Digest, blobs: Blobs) -> Digest:
    """Return the digest of the Action that runs `line` on the input root `root`.

    The Action and its Command are added to `blobs`.
    Source: remote_execution.proto, message Command: variables, outputs and properties are sorted.
    """
    platform = reapi.Platform(
        properties=[
            reapi.Platform.Property(name=name, value=value) for name, value in sorted(line.platform)
        ]
    )
    command = reapi.Command(
        arguments=line.arguments,
        environment_variables=[
            reapi.Command.EnvironmentVariable(name=name, value=value)
            for name, value in sorted(dict(line.environment).items())
        ],
        output_paths=sorted(set(line.outputs), key=str.encode),
        working_directory=line.working_directory,
    )
    if line.platform:
        command.platform.CopyFrom(platform)
    named = put_message(command.SerializeToString(deterministic=True), root.function, blobs)
    action = reapi.Action(
        command_digest=digest_to(named),
        input_root_digest=digest_to(root),
        do_not_cache=line.do_not_cache,
    )
    if line.platform:
        action.platform.CopyFrom(platform)
    if line.timeout_seconds is not None:
        action.timeout.FromNanoseconds(round(line.timeout_seconds * 1e9))
    return put_message(action.SerializeToString(deterministic=True), root.function, blobs)


async def plan_outputs(
    store: BlobStore, result: reapi.ActionResult, function: DigestFunction, folder: Path
) -> Plan:
    """Return what to make below `folder` to have all outputs of `result` there.

    Raises InvalidPath for a path that leads out of it, and what reading a Tree raises.
    """
    plan = Plan()
    for file in result.output_files:
        digest = digest_from(file.digest, function)
        plan.add_file(digest, folder / inside(file.path), executable=file.is_executable)
    for directory in result.output_directories:
        named = digest_from(directory.tree_digest, function)
        tree = parse_tree(await store.read_all(named), named)
        plan.add_tree(unfolded(tree, function), folder / inside(directory.path))
    links = (
        *result.output_symlinks,
        *result.output_file_symlinks,
        *result.output_directory_symlinks,
    )
    for link in links:
        plan.links[folder / inside(link.path)] = link.target
    return plan


def inside(path: str) -> PurePosixPath:
    """Return a relative path that stays where it starts; raise InvalidPath for any other."""
    parsed = PurePosixPath(path)
    if parsed.is_absolute() or ".." in parsed.parts or "\0" in path:
        raise InvalidPath(f"{path!r} leads out of its folder: write a relative path without `..`")
    return parsed
