"""Results of actions as clients upload them."""

from __future__ import annotations

from google.protobuf.message import Message

from protos import remote_execution_pb2 as reapi
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer


def a_result(peer: Peer, *, exit_code: int = 0) -> reapi.ActionResult:
    """Return a result that has one of everything, all of it uploaded."""
    leaf = reapi.Directory()
    leaf.files.add(name="f", digest=peer.put_one(unique()))
    root = reapi.Directory()
    root.directories.add(name="d", digest=peer.digest(encoded(leaf)))
    peer.put(encoded(leaf), encoded(root))
    tree = reapi.Tree(root=root, children=[leaf])
    result = reapi.ActionResult(
        exit_code=exit_code,
        stdout_digest=peer.put_one(unique()),
        stderr_digest=peer.put_one(unique()),
    )
    result.output_files.add(path="out/file", digest=peer.put_one(unique()), is_executable=True)
    result.output_directories.add(
        path="out/folder",
        tree_digest=peer.put_one(encoded(tree)),
        root_directory_digest=peer.digest(encoded(root)),
    )
    result.output_symlinks.add(path="out/link", target="file")
    return result


def encoded(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)
