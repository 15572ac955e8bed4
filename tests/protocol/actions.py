"""Actions as clients make them: a command, an input root, and the blobs of both uploaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protos import remote_execution_pb2 as reapi
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer


@dataclass(frozen=True)
class Link:
    """A symlink of an input root."""

    target: str


@dataclass(frozen=True)
class Script:
    """An action file of an input root: executable."""

    text: str


@dataclass
class Folder:
    """A Directory under construction."""

    files: dict[str, bytes | Script] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


Entry = bytes | Script | Link | None  # None: an empty folder


def input_root(peer: Peer, entries: Mapping[str, Entry]) -> reapi.Digest:
    """Upload a tree of `entries`, by path; return the digest of its root Directory."""
    blobs: list[bytes] = []
    root = _directory(peer, _folders(entries), blobs)
    peer.put(*blobs)
    return root


def _folders(entries: Mapping[str, Entry]) -> Folder:
    root = Folder()
    for path, entry in entries.items():
        *parents, name = path.split("/")
        folder = root
        for parent in parents:
            folder = folder.folders.setdefault(parent, Folder())
        if entry is None:
            folder.folders.setdefault(name, Folder())
        elif isinstance(entry, Link):
            folder.links[name] = entry.target
        else:
            folder.files[name] = entry
    return root


def _directory(peer: Peer, folder: Folder, blobs: list[bytes]) -> reapi.Digest:
    message = reapi.Directory()
    for name in sorted(folder.files, key=str.encode):
        entry = folder.files[name]
        data = entry.text.encode() if isinstance(entry, Script) else entry
        blobs.append(data)
        message.files.add(
            name=name, digest=peer.digest(data), is_executable=isinstance(entry, Script)
        )
    for name in sorted(folder.folders, key=str.encode):
        below = _directory(peer, folder.folders[name], blobs)
        message.directories.add(name=name, digest=below)
    for name in sorted(folder.links, key=str.encode):
        message.symlinks.add(name=name, target=folder.links[name])
    data = message.SerializeToString(deterministic=True)
    blobs.append(data)
    return peer.digest(data)


def chain(peer: Peer, depth: int, *, width: int = 1) -> reapi.Digest:
    """Upload directories `depth` deep, each with the next one in it `width` times."""
    directory = reapi.Directory()
    directory.files.add(name="leaf", digest=peer.put_one(unique(8)))
    blobs = [directory.SerializeToString(deterministic=True)]
    for _ in range(depth - 1):
        directory = reapi.Directory()
        for number in range(width):
            directory.directories.add(name=f"d{number}", digest=peer.digest(blobs[-1]))
        blobs.append(directory.SerializeToString(deterministic=True))
    peer.put(*blobs)
    return peer.digest(blobs[-1])


def command(
    script: str,
    *,
    outputs: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    platform: Mapping[str, str] | None = None,
    working_directory: str = "",
) -> reapi.Command:
    """Return a Command that runs `script` in a shell."""
    message = reapi.Command(
        arguments=["/bin/sh", "-c", script],
        output_paths=sorted(outputs, key=str.encode),
        working_directory=working_directory,
    )
    for name in sorted(env or {}):
        message.environment_variables.add(name=name, value=(env or {})[name])
    message.platform.CopyFrom(platform_of(platform or {}))
    return message


def platform_of(properties: Mapping[str, str]) -> reapi.Platform:
    message = reapi.Platform()
    for name in sorted(properties):
        message.properties.add(name=name, value=properties[name])
    return message


def put_action(
    peer: Peer,
    of: reapi.Command,
    *,
    inputs: Mapping[str, Entry] | None = None,
    timeout_seconds: float = 0,
    do_not_cache: bool = False,
    platform: Mapping[str, str] | None = None,
    salt: bytes | None = None,
) -> reapi.Digest:
    """Upload `of`, `inputs` and the Action over them; return the digest of the Action.

    salt: what makes the action one of its own; new bytes where it is None.
    """
    action = reapi.Action(
        command_digest=peer.put_one(of.SerializeToString(deterministic=True)),
        input_root_digest=input_root(peer, inputs or {}),
        do_not_cache=do_not_cache,
        salt=unique(16) if salt is None else salt,
    )
    if timeout_seconds:
        action.timeout.FromNanoseconds(int(timeout_seconds * 1e9))
    if platform is not None:
        action.platform.CopyFrom(platform_of(platform))
    return peer.put_one(action.SerializeToString(deterministic=True))


def put_script(peer: Peer, script: str, *outputs: str) -> reapi.Digest:
    """Upload an action that runs `script` and has nothing else of note."""
    return put_action(peer, command(script, outputs=outputs))


def outputs_of(peer: Peer, result: reapi.ActionResult) -> dict[str, bytes]:
    """Read the output files of `result`, by path."""
    return {
        output.path: output.contents or peer.read(output.digest) for output in result.output_files
    }


def stdout_of(peer: Peer, result: reapi.ActionResult) -> bytes:
    """Read stdout, inline or not."""
    if result.stdout_raw or not result.HasField("stdout_digest"):
        return result.stdout_raw
    return peer.read(result.stdout_digest)


def stderr_of(peer: Peer, result: reapi.ActionResult) -> bytes:
    """Read stderr, inline or not."""
    if result.stderr_raw or not result.HasField("stderr_digest"):
        return result.stderr_raw
    return peer.read(result.stderr_digest)
