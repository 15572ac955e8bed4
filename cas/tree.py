"""Directories and Trees: checked, walked level by level, each once however often it is shared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from cas.digest import EMPTY_HASHES, Digest, DigestFunction, InvalidDigest
from cas.store import BlobStore
from cas.wire import digest_from
from protos import remote_execution_pb2 as reapi


class InvalidMessage(ValueError):
    """A blob that should hold a message of the protocol does not, or breaks the message's rules."""


class TreeTooLarge(InvalidMessage):
    """A tree is over one of the bounds of TreeLimits."""


class MissingInputs(LookupError):
    """Blobs that an action needs and the store does not have: all of them."""

    def __init__(self, digests: Iterable[Digest]) -> None:
        self.digests = sorted(set(digests))
        named = ", ".join(str(digest) for digest in self.digests[:5])
        more = f" and {len(self.digests) - 5} more" if len(self.digests) > 5 else ""  # noqa: PLR2004
        super().__init__(f"missing from the store, upload them and try again: {named}{more}")


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """How large a tree may be before it is refused.

    depth: directories on the longest path. directories: different ones.
    nodes: files, directories and symlinks, counted in each directory once.
    paths: what they come to where a directory that is shared counts each time.
    bytes: of the Directory messages, each once: all of them are in memory together.
    """

    depth: int = 256
    directories: int = 200_000
    nodes: int = 2_000_000
    paths: int = 2_000_000
    bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class InputTree:
    """A whole input root.

    directories: by digest, each once. files: the digests of all files.
    """

    root: Digest
    directories: dict[Digest, reapi.Directory] = field(default_factory=dict)
    files: set[Digest] = field(default_factory=set)

    def directory(self, digest: Digest) -> reapi.Directory:
        return self.directories[digest]


def parse_directory(data: bytes, named: Digest) -> reapi.Directory:
    """Read a Directory and check that it is canonical.

    Raises InvalidMessage with the digest and the entry at fault.
    Source: remote_execution.proto, message Directory: names are single segments, unique, sorted
    by their UTF-8 bytes, properties of a node by theirs; the serialisation has its fields in order
    and no unknown ones.
    """
    try:
        directory = reapi.Directory.FromString(data)
    except DecodeError as error:
        raise InvalidMessage(f"blob {named} is not a Directory: {error}") from None
    try:
        check_directory(directory, named.function)
    except InvalidMessage as error:
        raise InvalidMessage(f"Directory {named}: {error}") from None
    directory.DiscardUnknownFields()
    if directory.SerializeToString(deterministic=True) != data:
        raise InvalidMessage(
            f"Directory {named} has unknown fields, or fields that are not in order"
        )
    return directory


def check_directory(directory: reapi.Directory, function: DigestFunction) -> None:
    """Raise InvalidMessage, naming the entry, unless `directory` is canonical."""
    seen: set[str] = set()
    _check_names("files", [node.name for node in directory.files], seen)
    _check_names("directories", [node.name for node in directory.directories], seen)
    _check_names("symlinks", [node.name for node in directory.symlinks], seen)
    _check_properties(directory)
    for file in directory.files:
        _check_digest(file, function)
        _check_properties(file)
    for child in directory.directories:
        _check_digest(child, function)
    for link in directory.symlinks:
        if not link.target or "\0" in link.target:
            raise InvalidMessage(f"symlink {link.name!r} has the target {link.target!r}")
        _check_properties(link)


def _check_digest(node: reapi.FileNode | reapi.DirectoryNode, function: DigestFunction) -> None:
    if not node.HasField("digest"):
        raise InvalidMessage(f"{node.name!r} has no digest")
    try:
        digest_from(node.digest, function)
    except InvalidDigest as error:
        raise InvalidMessage(f"{node.name!r}: {error}") from None


def _check_properties(node: reapi.Directory | reapi.FileNode | reapi.SymlinkNode) -> None:
    if not node.HasField("node_properties"):
        return
    names = [each.name.encode() for each in node.node_properties.properties]
    if names != sorted(names):
        raise InvalidMessage("node_properties are not sorted by name")


def _check_names(kind: str, names: list[str], seen: set[str]) -> None:
    before = b""
    for name in names:
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise InvalidMessage(f"{kind}: {name!r} is not a single path segment")
        encoded = name.encode()
        if name in seen:
            raise InvalidMessage(f"the name {name!r} stands twice")
        if encoded < before:
            raise InvalidMessage(f"{kind} are not sorted: {name!r} comes after {before.decode()!r}")
        seen.add(name)
        before = encoded


def children(directory: reapi.Directory, function: DigestFunction) -> Iterator[Digest]:
    for node in directory.directories:
        yield Digest(node.digest.hash, node.digest.size_bytes, function)


def files(directory: reapi.Directory, function: DigestFunction) -> Iterator[Digest]:
    for node in directory.files:
        yield Digest(node.digest.hash, node.digest.size_bytes, function)


async def load_inputs(store: BlobStore, root: Digest, limits: TreeLimits) -> InputTree:
    """Read every directory below `root`, and lease every file.

    Raises MissingInputs with all that is missing, directories and files; InvalidMessage;
    TreeTooLarge.
    """
    tree = InputTree(root)
    missing: set[Digest] = set()
    level, depth, nodes, size = {root}, 0, 0, 0
    while level:
        size += sum(digest.size for digest in level)
        if size > limits.bytes:
            raise TreeTooLarge(f"the directories of input root {root} exceed {limits.bytes} bytes")
        depth += 1
        if depth > limits.depth:
            raise TreeTooLarge(_too_deep(root, limits))
        found = await store.read_many(sorted(level))
        missing |= level - found.keys()
        following: set[Digest] = set()
        for digest, data in found.items():
            directory = parse_directory(data, digest)
            tree.directories[digest] = directory
            tree.files.update(files(directory, root.function))
            following.update(children(directory, root.function))
            nodes += len(directory.files) + len(directory.directories) + len(directory.symlinks)
        level = following - tree.directories.keys() - missing
        _bound(root, limits, directories=len(tree.directories) + len(level), nodes=nodes)
    missing |= await store.find_missing(tree.files | tree.directories.keys())
    if missing:
        raise MissingInputs(missing)
    _check_acyclic_paths(tree, limits)
    return tree


def _bound(root: Digest, limits: TreeLimits, *, directories: int, nodes: int) -> None:
    if directories > limits.directories:
        raise TreeTooLarge(f"input root {root} has more than {limits.directories} directories")
    if nodes > limits.nodes:
        raise TreeTooLarge(f"input root {root} has more than {limits.nodes} entries")


def _check_acyclic_paths(tree: InputTree, limits: TreeLimits) -> None:
    """Measure what materialising `tree` would create.

    Sharing can make a few blobs very many paths, and a path longer than the levels of `load_inputs`
    are many, since each directory stands in the first level that names it.

    A directory cannot contain itself, since its digest would have to be known before it is.
    """
    counts: dict[Digest, int] = {}
    depths: dict[Digest, int] = {}
    pending = [tree.root]
    while pending:
        digest = pending[-1]
        if digest in counts:
            pending.pop()
            continue
        directory = tree.directories[digest]
        below = list(children(directory, tree.root.function))
        unknown = [child for child in below if child not in counts]
        if unknown:
            pending.extend(unknown)
            continue
        own = len(directory.files) + len(directory.directories) + len(directory.symlinks)
        counts[digest] = own + sum(counts[child] for child in below)
        depths[digest] = 1 + max((depths[child] for child in below), default=0)
        if counts[digest] > limits.paths:
            raise TreeTooLarge(f"input root {tree.root} unfolds to over {limits.paths} paths")
        if depths[digest] > limits.depth:
            raise TreeTooLarge(_too_deep(tree.root, limits))


def _too_deep(root: Digest, limits: TreeLimits) -> str:
    return f"input root {root} is more than {limits.depth} directories deep"


def parse_tree(data: bytes, named: Digest) -> reapi.Tree:
    """Read a Tree; raise InvalidMessage if it is none, or one of its directories is not canonical.

    Source: remote_execution.proto, message Tree.
    """
    try:
        tree = reapi.Tree.FromString(data)
    except DecodeError as error:
        raise InvalidMessage(f"blob {named} is not a Tree: {error}") from None
    for directory in (tree.root, *tree.children):
        try:
            check_directory(directory, named.function)
        except InvalidMessage as error:
            raise InvalidMessage(f"Tree {named}: {error}") from None
    return tree


def tree_files(tree: reapi.Tree, function: DigestFunction) -> set[Digest]:
    """Return the digests of all files of `tree`."""
    return {
        digest for directory in (tree.root, *tree.children) for digest in files(directory, function)
    }


def is_empty(digest: Digest) -> bool:
    """Tell whether `digest` names the empty blob, which every store has."""
    return digest.size == 0 and digest.hash == EMPTY_HASHES[digest.function]
