"""Many blobs, from a store to files of this machine."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cas.digest import Digest, DigestFunction
from cas.store import BlobNotFound, BlobStore
from cas.tree import (
    InputTree,
    InvalidMessage,
    TreeLimits,
    children,
    files,
    load_inputs,
    parse_tree,
)
from protos import remote_execution_pb2 as reapi
from re_client.parallel import each
from re_client.upload import SMALL_BYTES, STREAMS, OnBytes, batches

FILE_MODE, PROGRAM_MODE = 0o644, 0o755


class Occupied(FileExistsError):
    """There is something already where a folder is to be made."""


@dataclass(frozen=True, slots=True)
class Target:
    path: Path
    executable: bool


@dataclass(slots=True)
class Plan:
    """Files, folders and symlinks to make.

    Symlinks are made last, so that nothing is written through them.
    """

    files: dict[Digest, list[Target]] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    links: dict[Path, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Bytes to download: each blob once."""
        return sum(digest.size for digest in self.files)

    def add_file(self, digest: Digest, path: Path, *, executable: bool) -> None:
        self.files.setdefault(digest, []).append(Target(path, executable))

    def add_tree(self, tree: InputTree, path: Path) -> None:
        """Add all that is below the root of `tree`."""
        function = tree.root.function
        pending = [(tree.root, path)]
        while pending:
            digest, folder = pending.pop()
            directory = tree.directory(digest)
            self.folders.append(folder)
            for file in directory.files:
                named = Digest(file.digest.hash, file.digest.size_bytes, function)
                self.add_file(named, folder / file.name, executable=file.is_executable)
            for link in directory.symlinks:
                self.links[folder / link.name] = link.target
            for below in directory.directories:
                named = Digest(below.digest.hash, below.digest.size_bytes, function)
                pending.append((named, folder / below.name))


async def load_tree(store: BlobStore, digest: Digest, limits: TreeLimits) -> InputTree:
    """Read a Directory and all below it, or the Tree of an output directory.

    Raises what cas.tree.load_inputs raises.
    """
    try:
        return await load_inputs(store, digest, limits)
    except InvalidMessage as error:
        try:
            tree = parse_tree(await store.read_all(digest), digest)
        except InvalidMessage:
            raise error from None
    return unfolded(tree, digest.function)


def unfolded(tree: reapi.Tree, function: DigestFunction) -> InputTree:
    """Return the directories of `tree` by digest; raise InvalidMessage if one is not in it."""
    root = _digest_of(tree.root, function)
    found = InputTree(root, {_digest_of(one, function): one for one in tree.children})
    found.directories[root] = tree.root
    for directory in found.directories.values():
        found.files.update(files(directory, function))
        for below in children(directory, function):
            if below not in found.directories:
                raise InvalidMessage(f"the Tree lacks its directory {below}")
    return found


def _digest_of(directory: reapi.Directory, function: DigestFunction) -> Digest:
    return Digest.of(directory.SerializeToString(deterministic=True), function)


async def carry_out(
    store: BlobStore, plan: Plan, *, on_bytes: OnBytes = lambda received: None
) -> None:
    """Make everything that is in `plan`; replace files and symlinks that are there.

    on_bytes: told each time that some bytes have come.
    Raises BlobNotFound, OSError, ConnectionError.
    """
    for folder in plan.folders:
        folder.mkdir(parents=True, exist_ok=True)

    async def receive(digest: Digest) -> None:
        await _save_stream(store, digest, plan.files[digest], on_bytes)

    large = {digest for digest in plan.files if digest.size > SMALL_BYTES}
    for batch in batches(plan.files.keys() - large):
        found = await store.read_many(batch)
        for digest in batch:
            if digest not in found:
                raise BlobNotFound(digest)
            await asyncio.to_thread(_save_bytes, found[digest], plan.files[digest])
            on_bytes(digest.size)
    await each(receive, sorted(large), width=STREAMS)
    for path, target in plan.links.items():
        with _replaced(path) as part:
            part.symlink_to(target)


def _save_bytes(data: bytes, targets: list[Target]) -> None:
    for target in targets:
        with _replaced(target.path) as part:
            part.write_bytes(data)
            part.chmod(PROGRAM_MODE if target.executable else FILE_MODE)


async def _save_stream(
    store: BlobStore, digest: Digest, targets: list[Target], on_bytes: OnBytes
) -> None:
    first, *others = targets
    with _replaced(first.path) as part:
        with part.open("wb") as file:
            async for chunk in store.read(digest):
                await asyncio.to_thread(file.write, chunk)
                on_bytes(len(chunk))
        part.chmod(PROGRAM_MODE if first.executable else FILE_MODE)
    for target in others:
        with _replaced(target.path) as part:
            await asyncio.to_thread(shutil.copyfile, first.path, part)
            part.chmod(PROGRAM_MODE if target.executable else FILE_MODE)


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yield a path to write at; what is there then replaces `path` in one step, or is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
