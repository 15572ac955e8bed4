"""What Buck2 takes an ActionResult for, and what it stumbles over."""

from __future__ import annotations

from dataclasses import dataclass

from google.rpc import code_pb2

from protos import remote_execution_pb2 as reapi
from tests.buck2.actions import Blobs
from tests.buck2.connection import Connection, InfrastructureError
from tests.buck2.downloads import download
from tests.buck2.uploads import key

SHOWN_BYTES = 4 << 20  # of stdout or stderr by digest; larger ones are not displayed


@dataclass(frozen=True, slots=True)
class Outputs:
    """What an action made, by the paths that were asked for.

    files: digest and executable bit. folders: what is in each, by path. links: their targets.
    """

    files: dict[str, tuple[reapi.Digest, bool]]
    folders: dict[str, dict[str, str]]
    links: dict[str, str]


def checked(result: reapi.ActionResult) -> reapi.ActionResult:
    """Raise InfrastructureError where Buck2 cannot convert `result`."""
    if not result.HasField("execution_metadata"):
        raise _malformed("the execution metadata are not defined")
    if not all(output.HasField("digest") for output in result.output_files):
        raise _malformed("an output file has no digest")
    if not all(output.HasField("tree_digest") for output in result.output_directories):
        raise _malformed("an output directory has no tree digest")
    return result


def _malformed(what: str) -> InfrastructureError:
    return InfrastructureError(code_pb2.INTERNAL, what)


async def outputs(connection: Connection, result: reapi.ActionResult, blobs: Blobs) -> Outputs:
    """Read the Trees of `result` at once; files are left for later.

    blobs: says by what function directories are named.
    """
    links = {link.path.rstrip("/"): link.target for link in result.output_symlinks}
    if absolute := [path for path, target in links.items() if target.startswith("/")]:
        raise _malformed(f"absolute symlinks: {absolute}")
    files = {
        output.path.rstrip("/"): (output.digest, output.is_executable)
        for output in result.output_files
    }
    folders = {}
    for output in result.output_directories:
        (data,) = await download(connection, [output.tree_digest])
        folders[output.path.rstrip("/")] = unfold(reapi.Tree.FromString(data), blobs)
    paths = [*files, *folders, *links]
    if len(set(paths)) != len(paths):
        raise _malformed("an output stands twice")
    return Outputs(files, folders, links)


def unfold(tree: reapi.Tree, blobs: Blobs) -> dict[str, str]:
    """Return what is at each path of `tree`: a file's hash, a link's target, or `folder`.

    Children are encoded and hashed anew, so that only canonical ones are found; each has to be
    there, the empty directory too.
    """
    children = {}
    for child in tree.children:
        digest = Blobs(blobs.hash).add_message(child)
        children[key(digest)] = child
    found: dict[str, str] = {}
    pending = [("", tree.root)]
    while pending:
        path, directory = pending.pop()
        found.update({f"{path}{node.name}": node.digest.hash for node in directory.files})
        found.update({f"{path}{node.name}": node.target for node in directory.symlinks})
        for node in directory.directories:
            if key(node.digest) not in children:
                raise _malformed(f"{path}{node.name} is not among the children of its Tree")
            found[f"{path}{node.name}"] = "folder"
            pending.append((f"{path}{node.name}/", children[key(node.digest)]))
    return found


async def shown(connection: Connection, raw: bytes, digest: reapi.Digest) -> bytes:
    """Return what the user sees of stdout or stderr: what is inline, or else what is stored."""
    if raw or not digest.size_bytes:
        return raw
    if digest.size_bytes > SHOWN_BYTES:
        return b""
    (data,) = await download(connection, [digest])
    return data
