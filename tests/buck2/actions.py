"""Actions as Buck2 makes them, with every blob that they consist of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from blake3 import blake3
from google.protobuf.message import Message

from protos import remote_execution_pb2 as reapi
from tests.buck2.uploads import Key

Hash = Callable[[bytes], str]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def blake3_hash(data: bytes) -> str:
    return blake3(data).hexdigest()


@dataclass
class Blobs:
    """What is to be uploaded, named by one of the functions of `digest_algorithms`."""

    hash: Hash = sha256
    data: dict[Key, bytes] = field(default_factory=dict)

    def add(self, data: bytes) -> reapi.Digest:
        named = self.hash(data), len(data)
        self.data[named] = data
        return reapi.Digest(hash=named[0], size_bytes=named[1])

    def add_message(self, message: Message) -> reapi.Digest:
        return self.add(message.SerializeToString(deterministic=True))


@dataclass(frozen=True, slots=True)
class Made:
    """An action: its digest, and all blobs, inputs included."""

    digest: reapi.Digest
    blobs: Blobs
    command: reapi.Digest
    outputs: Sequence[str]

    def without_inputs(self) -> dict[Key, bytes]:
        """The Action and the Command alone."""
        names = {(digest.hash, digest.size_bytes) for digest in (self.digest, self.command)}
        return {named: self.blobs.data[named] for named in names}


def make(
    script: str,
    outputs: Sequence[str] = (),
    *,
    inputs: Mapping[str, bytes] | None = None,
    properties: Sequence[tuple[str, str]] = (("OSFamily", "linux"),),
    env: Mapping[str, str] | None = None,
    timeout_seconds: int = 0,
    hash: Hash = sha256,
) -> Made:
    """Make the action that runs `script`.

    Its platform is in the Command alone, in the order given; it sets no PATH, no working
    directory, no salt and never do_not_cache; it is cacheable, and names outputs by output_paths.
    """
    blobs = Blobs(hash)
    of = reapi.Command(arguments=["/bin/sh", "-c", script], output_paths=sorted(outputs))
    for name in sorted(env or {}):
        of.environment_variables.add(name=name, value=(env or {})[name])
    for name, value in properties:
        of.platform.properties.add(name=name, value=value)
    command = blobs.add_message(of)
    action = reapi.Action(
        command_digest=command, input_root_digest=_input_root(blobs, inputs or {}, outputs)
    )
    if timeout_seconds:
        action.timeout.FromSeconds(timeout_seconds)
    return Made(blobs.add_message(action), blobs, command, outputs)


def _input_root(blobs: Blobs, inputs: Mapping[str, bytes], outputs: Sequence[str]) -> reapi.Digest:
    """Build the tree of inputs, with the parents of outputs in it as empty directories."""
    folders: dict[str, set[str]] = {"": set()}
    for path in (*inputs, *outputs):
        parts = path.split("/")[:-1]
        for depth, part in enumerate(parts):
            folders.setdefault("/".join(parts[:depth]), set()).add(part)
            folders.setdefault("/".join(parts[: depth + 1]), set())
    return _directory(blobs, "", inputs, folders)


def _directory(
    blobs: Blobs, path: str, inputs: Mapping[str, bytes], folders: Mapping[str, set[str]]
) -> reapi.Digest:
    message = reapi.Directory()
    prefix = f"{path}/" if path else ""
    for file in sorted(inputs):
        folder, _, name = file.rpartition("/")
        if folder == path:
            message.files.add(name=name, digest=blobs.add(inputs[file]))
    for name in sorted(folders[path]):
        below = _directory(blobs, f"{prefix}{name}", inputs, folders)
        message.directories.add(name=name, digest=below)
    return blobs.add_message(message)
