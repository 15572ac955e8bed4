"""An action, as the store has it, and what it says about how it is run."""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from cas.digest import Digest, InvalidDigest
from cas.store import BlobNotFound, BlobStore
from cas.tree import InputTree, InvalidMessage, MissingInputs, TreeLimits, load_inputs
from cas.wire import digest_from
from protos import remote_execution_pb2 as reapi

PATH_HASH_CHARACTERS = 12
NODE_PROPERTIES = ("mtime", "unix_mode")
"""Names of node properties that are told of outputs and given to inputs.

Source: remote_execution.proto, Command.output_node_properties.
"""
SANDBOX_FOLDER = "/b"

Read = TypeVar("Read", bound=Message)


@dataclass(frozen=True, slots=True)
class Output:
    """One path that the client asks for.

    requested: as it is written in the Command, and to be in the result. path: from the input root,
    normal, "" for the root itself. kinds: what it may be.
    """

    requested: str
    path: str
    kinds: frozenset[str]

    @property
    def parent(self) -> str:
        return posixpath.dirname(self.path)


ANY_KIND = frozenset({"file", "directory"})


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that is needed to run an action.

    working_directory: from the input root, normal, "" for the root itself.
    legacy: the client asks for outputs in the way of version 2.0.
    """

    action: reapi.Action
    command: reapi.Command
    inputs: InputTree
    working_directory: str
    outputs: tuple[Output, ...]
    legacy: bool

    @property
    def path(self) -> str:
        """Where the action sees its input root: one path for one set of outputs.

        The same action is always at the same path, so that what holds its path repeats. Others are
        at other paths: tools that derive names from paths, nvcc for one, would make equal ones.
        """
        named = "\0".join(sorted(output.path for output in self.outputs))
        return (
            f"{SANDBOX_FOLDER}/{hashlib.sha256(named.encode()).hexdigest()[:PATH_HASH_CHARACTERS]}"
        )

    def environment(self, default_path: str) -> dict[str, str]:
        """Return the Command's own variables, and PATH where it has none.

        The sandbox adds others, which are the same for every action: see worker/environment.py.
        """
        given = {variable.name: variable.value for variable in self.command.environment_variables}
        return {"PATH": default_path} | given


async def load(
    store: BlobStore, named: Digest, limits: TreeLimits, *, max_message_bytes: int
) -> Loaded:
    """Read the Action `named`, its Command, and every Directory of its input root.

    Raises MissingInputs with all that is missing, InvalidMessage, TreeTooLarge.
    """
    action = await _read(store, named, reapi.Action, max_message_bytes)
    if not action.HasField("input_root_digest"):
        raise InvalidMessage(f"Action {named} has no input_root_digest")
    try:
        command_named = digest_from(action.command_digest, named.function)
        root = digest_from(action.input_root_digest, named.function)
    except InvalidDigest as error:
        raise InvalidMessage(f"Action {named}: {error}") from None
    missing: set[Digest] = set()
    command = reapi.Command()
    inputs = InputTree(root)
    try:
        command = await _read(store, command_named, reapi.Command, max_message_bytes)
    except MissingInputs as error:
        missing |= set(error.digests)
    try:
        inputs = await load_inputs(store, root, limits)
    except MissingInputs as error:
        missing |= set(error.digests)
    if missing:
        raise MissingInputs(missing)
    try:
        return await asyncio.to_thread(_checked, action, command, inputs)
    except InvalidMessage as error:
        raise InvalidMessage(f"Command {command_named}: {error}") from None


async def _read(store: BlobStore, named: Digest, kind: Callable[[], Read], max_bytes: int) -> Read:
    message = kind()
    name = message.DESCRIPTOR.name
    if named.size > max_bytes:
        raise InvalidMessage(
            f"{name} {named} is over the bound on messages, limits.message_blob_bytes {max_bytes}"
        )
    try:
        message.ParseFromString(await store.read_all(named))
    except BlobNotFound as error:
        raise MissingInputs([error.digest]) from None
    except DecodeError as error:
        raise InvalidMessage(f"blob {named} is not of type {name}: {error}") from None
    return message


def _checked(action: reapi.Action, command: reapi.Command, inputs: InputTree) -> Loaded:
    """Raise InvalidMessage if `command` cannot be run by anybody."""
    if not command.arguments or not command.arguments[0]:
        raise InvalidMessage("arguments: there is no program to run")
    if any("\0" in argument for argument in command.arguments):
        raise InvalidMessage("arguments: one holds a zero byte")
    names = [variable.name for variable in command.environment_variables]
    for variable in command.environment_variables:
        if not variable.name or "=" in variable.name or "\0" in variable.name + variable.value:
            raise InvalidMessage(f"environment_variables: {variable.name!r} cannot be set")
    if len(set(names)) < len(names):
        raise InvalidMessage("environment_variables: a name stands twice")
    for name in command.output_node_properties:
        if name not in NODE_PROPERTIES:
            raise InvalidMessage(
                f"output_node_properties: {name!r} is not known here; there are "
                f"{', '.join(NODE_PROPERTIES)}"
            )
    working_directory = _below_root("working_directory", "", command.working_directory)
    return Loaded(
        action,
        command,
        inputs,
        working_directory,
        _outputs(command, working_directory),
        legacy=not command.output_paths,
    )


def _outputs(command: reapi.Command, working_directory: str) -> tuple[Output, ...]:
    """Return what is asked for, no path twice, in the order of the request."""
    lists: Mapping[str, tuple[list[str], frozenset[str]]]
    if command.output_paths:
        lists = {"output_paths": (list(command.output_paths), ANY_KIND)}
    else:
        lists = {
            "output_files": (list(command.output_files), frozenset({"file"})),
            "output_directories": (list(command.output_directories), frozenset({"directory"})),
        }
    found: dict[str, Output] = {}
    for field, (paths, kinds) in lists.items():
        for requested in paths:
            path = _below_root(field, working_directory, requested)
            earlier = found.get(path)
            if earlier is None:
                found[path] = Output(requested, path, kinds)
            else:
                found[path] = Output(earlier.requested, path, earlier.kinds | kinds)
    return tuple(found.values())


def _below_root(field: str, folder: str, path: str) -> str:
    """Return `path`, which starts at `folder`, from the root; raise InvalidMessage if outside."""
    if path.startswith("/") or "\0" in path:
        raise InvalidMessage(f"{field}: {path!r} is not a relative path")
    normal = posixpath.normpath(posixpath.join(folder, path))
    if normal == ".." or normal.startswith("../"):
        raise InvalidMessage(f"{field}: {path!r} leaves the input root")
    return "" if normal == "." else normal
