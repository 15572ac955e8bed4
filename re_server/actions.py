"""Actions, as the server needs to know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from action_cache.mode import Mode
from cas.digest import Digest
from cas.store import BlobStore
from cas.tree import InvalidMessage, MissingInputs, is_empty
from cas.wire import digest_from
from protos import remote_execution_pb2 as reapi
from re_client.status import Refused

MODE_PROPERTY = "holdfast-determinism"  # of a platform: chooses the mode for one action

Known = TypeVar("Known", bound=Message)


@dataclass(frozen=True, slots=True)
class LoadedAction:
    """An Action and its Command.

    platform: pairs of name and value. mode: what the platform asks for, None where it says
    nothing. input_root: None where the Action has none, as of Buck2's permission check.
    """

    action: reapi.Action
    command: reapi.Command
    platform: tuple[tuple[str, str], ...]
    mode: Mode | None
    input_root: Digest | None


async def load_action(blobs: BlobStore, digest: Digest, *, max_bytes: int) -> LoadedAction:
    """Read an Action and its Command.

    max_bytes: bound on each. Raises MissingInputs, InvalidMessage, InvalidDigest, Refused.
    Source: remote_execution.proto, Action.platform: it wins over Command.platform, which older
    clients and Buck2 set.
    """
    action = await _message(blobs, digest, reapi.Action, max_bytes)
    if not action.HasField("command_digest"):
        raise InvalidMessage(f"Action {digest} has no command_digest")
    command_digest = digest_from(action.command_digest, digest.function)
    command = await _message(blobs, command_digest, reapi.Command, max_bytes)
    source = action.platform if action.HasField("platform") else command.platform
    platform = tuple((each.name, each.value) for each in source.properties)
    input_root = None
    if action.HasField("input_root_digest"):
        input_root = digest_from(action.input_root_digest, digest.function)
    return LoadedAction(action, command, platform, _mode(platform), input_root)


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
    asked = [value for name, value in platform if name == MODE_PROPERTY]
    if not asked:
        return None
    try:
        return Mode(asked[-1])
    except ValueError:
        allowed = ", ".join(Mode)
        raise Refused(
            f"platform property {MODE_PROPERTY}={asked[-1]!r}: must be one of {allowed}"
        ) from None
