"""Actions, as the server needs to know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from action_cache.mode import Mode
from cas.digest import Digest, InvalidDigest
from cas.store import BlobStore
from cas.tree import InvalidMessage, MissingInputs, TreeLimits, is_empty, load_inputs
from cas.wire import digest_from
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_client.status import Refused
from scheduler.platform import OWN
from worker.program import program_of
from worker.seeded import PROPERTY as SEEDED_PROPERTY

MODE_PROPERTY = "holdfast-determinism"  # of a platform: chooses the mode for one action
EXTENT_PROPERTY = "holdfast-canonicalise"  # likewise: which formats outputs are rewritten of
KNOWN = (MODE_PROPERTY, EXTENT_PROPERTY, SEEDED_PROPERTY)  # of those that start with OWN
EXTENTS: dict[
    str, worker_pb2.Canonicalise.ValueType
] = {  # by what a configuration or a platform says
    "off": worker_pb2.Canonicalise.NOTHING,
    "learned": worker_pb2.Canonicalise.LEARNED,
    "all": worker_pb2.Canonicalise.EVERYTHING,
}

Known = TypeVar("Known", bound=Message)


@dataclass(frozen=True, slots=True)
class LoadedAction:
    """An Action and its Command.

    platform: pairs of name and value. mode, extent: what the platform asks for, None where it says
    nothing. program: what it runs, without its folder. input_root: None where the Action has none,
    as of Buck2's permission check. named: the digests of the Command and of the input root.
    """

    action: reapi.Action
    command: reapi.Command
    platform: tuple[tuple[str, str], ...]
    mode: Mode | None
    extent: worker_pb2.Canonicalise.ValueType | None
    program: str
    input_root: Digest | None
    named: tuple[Digest, ...]


async def load_action(blobs: BlobStore, digest: Digest, *, max_bytes: int) -> LoadedAction:
    """Read an Action and its Command.

    max_bytes: bound on each. Raises MissingInputs, InvalidMessage, InvalidDigest, Refused.
    Source: remote_execution.proto, Action.platform: it wins over Command.platform, which older
    clients and Buck2 set.
    """
    action = await _message(blobs, digest, reapi.Action, max_bytes)
    if not action.HasField("command_digest"):
        raise InvalidMessage(f"Action {digest} has no command_digest")
    command_digest = _named(action.command_digest, digest, "command_digest")
    command = await _message(blobs, command_digest, reapi.Command, max_bytes)
    source = action.platform if action.HasField("platform") else command.platform
    platform = tuple((each.name, each.value) for each in source.properties)
    for name, _ in platform:
        if name.startswith(OWN) and name not in KNOWN:
            raise Refused(f"platform property {name!r} is not known: there are {', '.join(KNOWN)}")
    input_root = None
    if action.HasField("input_root_digest"):
        input_root = _named(action.input_root_digest, digest, "input_root_digest")
    named = (command_digest, *([input_root] if input_root else []))
    return LoadedAction(
        action,
        command,
        platform,
        _mode(platform),
        _extent(platform),
        program_of(command.arguments),
        input_root,
        named,
    )


async def missing_inputs(
    blobs: BlobStore, digest: Digest, missing: MissingInputs, *, max_bytes: int, limits: TreeLimits
) -> MissingInputs:
    """Return `missing`, of an Action or its Command, with what of the input root is missing too.

    Source: remote_execution.proto, Execution.Execute: all that is missing is named at once.
    """
    if digest in missing.digests:
        return missing
    action = await _message(blobs, digest, reapi.Action, max_bytes)
    if not action.HasField("input_root_digest"):
        return missing
    try:
        await load_inputs(
            blobs, _named(action.input_root_digest, digest, "input_root_digest"), limits
        )
    except MissingInputs as error:
        return MissingInputs([*missing.digests, *error.digests])
    return missing


def _named(message: reapi.Digest, action: Digest, field: str) -> Digest:
    try:
        return digest_from(message, action.function)
    except InvalidDigest as error:
        raise InvalidDigest(f"Action {action}: {field}: {error}") from None


async def _message(blobs: BlobStore, digest: Digest, kind: type[Known], max_bytes: int) -> Known:
    name = kind.DESCRIPTOR.name
    if digest.size > max_bytes:
        raise InvalidMessage(
            f"{name} {digest} is larger than limits.message_blob_bytes = {max_bytes}"
        )
    found = await blobs.read_many([digest])
    if digest not in found and not is_empty(digest):
        raise MissingInputs([digest])
    try:
        return kind.FromString(found.get(digest, b""))
    except DecodeError as error:
        raise InvalidMessage(f"blob {digest} is not {name}: {error}") from None


def _mode(platform: tuple[tuple[str, str], ...]) -> Mode | None:
    asked = _asked(platform, MODE_PROPERTY, [mode.value for mode in Mode])
    return Mode(asked) if asked else None


def _extent(platform: tuple[tuple[str, str], ...]) -> worker_pb2.Canonicalise.ValueType | None:
    return EXTENTS.get(_asked(platform, EXTENT_PROPERTY, list(EXTENTS)))


def _asked(platform: tuple[tuple[str, str], ...], property: str, allowed: list[str]) -> str:
    """Return what a property of the platform says, "" where it is not there; raise Refused."""
    asked = [value for name, value in platform if name == property]
    if not asked:
        return ""
    if asked[-1] not in allowed:
        raise Refused(
            f"platform property {property}={asked[-1]!r}: must be one of {', '.join(allowed)}"
        )
    return asked[-1]
