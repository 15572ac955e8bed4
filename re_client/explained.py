"""All that a server knows of one action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from cas.digest import Digest
from cas.store import BlobNotFound, BlobStore
from cas.tree import InputTree, InvalidMessage, MissingInputs, TreeLimits, load_inputs
from cas.wire import digest_from
from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from re_client.actions import Actions
from re_client.admin import Admin
from re_client.status import NotServed

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Explained:
    """An action, and what belongs to it as far as the server has it.

    inputs: None where the Action names no input root, or the tree is not there as a whole.
    missing: blobs that belong to the action, and are not there.
    result, pin: None where there is none.
    """

    action: reapi.Action
    command: reapi.Command | None
    inputs: InputTree | None
    missing: list[Digest]
    result: reapi.ActionResult | None
    pin: admin.Pin | None


async def explain(
    store: BlobStore, actions: Actions, pins: Admin, instance_name: str, digest: Digest
) -> Explained:
    """Look up everything about the action `digest`.

    Raises BlobNotFound if the Action itself is not there, InvalidMessage if it is none.
    """
    action = _parsed(reapi.Action(), await store.read_all(digest), digest)
    command_digest = digest_from(action.command_digest, digest.function)
    command: reapi.Command | None = None
    missing: list[Digest] = []
    try:
        command = _parsed(reapi.Command(), await store.read_all(command_digest), command_digest)
    except BlobNotFound:
        missing.append(command_digest)
    inputs: InputTree | None = None
    if action.HasField("input_root_digest"):
        root = digest_from(action.input_root_digest, digest.function)
        try:
            inputs = await load_inputs(store, root, TreeLimits())
        except MissingInputs as error:
            missing += error.digests
    return Explained(
        action,
        command,
        inputs,
        missing,
        await _result(actions, digest),
        await _pin(pins, instance_name, digest),
    )


async def _result(actions: Actions, digest: Digest) -> reapi.ActionResult | None:
    try:
        return await actions.result(digest, inline=True)
    except NotServed:
        return None


async def _pin(pins: Admin, instance_name: str, digest: Digest) -> admin.Pin | None:
    """Return the pin; None where there is none, or the server has no such service."""
    try:
        return await pins.pin(instance_name, digest)
    except (NotServed, NotImplementedError):
        return None


def _parsed(message: M, data: bytes, named: Digest) -> M:
    try:
        message.MergeFromString(data)
    except DecodeError as error:
        kind = message.DESCRIPTOR.name
        raise InvalidMessage(f"blob {named} is no {kind}: {error}") from None
    return message
