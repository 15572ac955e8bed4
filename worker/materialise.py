"""Input trees, as folders."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from cas.digest import Digest
from cas.tree import InputTree, InvalidMessage
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_config.schema import Prevention
from worker.copying import copy
from worker.files import INPUT_TIME_NS, File
from worker.properties import given_mode, given_time

FOLDER_MODE = 0o755
WITHOUT_PROPERTIES = reapi.NodeProperties()
Entry = TypeVar("Entry")


def files_of(tree: InputTree) -> set[File]:
    """Return what has to be at hand to materialise `tree`."""
    function = tree.root.function
    return {
        File(Digest(node.digest.hash, node.digest.size_bytes, function), node.is_executable)
        for directory in tree.directories.values()
        for node in directory.files
    }


@dataclass(slots=True)
class Materialiser:
    """Makes one tree of folders, files and symbolic links, in one order and with one time.

    root: is made. path: where a held file is. linked: whether inputs are hard links, for an action
    whose user cannot change them; else, and where they cannot be, they are copies. user: who owns
    the folders; None: who makes them. prevent, variation: what settles the order and modified_ns,
    the time that every input has to which the client gives none. times: all that were given.

    Names were checked when the directories were read (cas/tree.py); links are never followed here,
    but by `make_parents` as far as they stay inside.
    """

    root: Path
    path: Callable[[File], str]
    linked: bool
    user: int | None
    prevent: Prevention = field(default_factory=Prevention)
    variation: worker_pb2.Variation | None = None
    modified_ns: int = field(init=False, default=INPUT_TIME_NS)
    times: set[int] = field(default_factory=set)
    _folders: dict[str, reapi.NodeProperties] = field(default_factory=dict)
    _random: Random | None = None

    def __post_init__(self) -> None:
        varied = self.variation or worker_pb2.Variation()
        if varied.order_seed or not self.prevent.order:
            self._random = Random(varied.order_seed or None)  # noqa: S311 - an order, no secret
        if varied.modified:
            self.modified_ns = varied.modified * 10**9
        elif not self.prevent.modified:
            self.modified_ns = time.time_ns()
        self.times.add(self.modified_ns)
        if self.modified_ns != INPUT_TIME_NS:
            self.linked = False  # a link shares the time of what it is linked to

    def make(self, tree: InputTree, parents: Iterable[str], working_directory: str) -> None:
        """Make `tree`, and the folders `parents`, relative to its root, if it has not got them.

        Raises InvalidMessage if one of `parents` is a file, or leaves the root by a link, or if
        `working_directory` is no folder after that.
        """
        self._make_tree(tree)
        for parent in self._ordered(sorted(parents)):
            self._make_parent(parent)
        real = inside(self.root, f"{self.root}/{working_directory}")
        if real is None or not os.path.isdir(real):  # noqa: PTH112
            raise InvalidMessage(
                f"working_directory {working_directory!r} is no directory of the input root"
            )
        # Last, since whatever is made in one changes its time; from below, for modes that close it.
        for folder, properties in reversed(self._folders.items()):
            time = self._time(properties)
            os.utime(folder, ns=(time, time))
            if properties.HasField("unix_mode"):
                os.chmod(folder, given_mode(properties, FOLDER_MODE))  # noqa: PTH101

    def _make_tree(self, tree: InputTree) -> None:
        pending = [(str(self.root), tree.root)]
        while pending:
            folder, digest = pending.pop()
            directory = tree.directory(digest)
            self._make_folder(folder, directory.node_properties)
            if self._random is None:
                self._make_files(folder, directory.files, tree)
                self._make_links(folder, directory.symlinks)
            else:
                self._make_at_random(folder, directory, tree)
            below = self._ordered(list(directory.directories))
            pending += [
                (
                    f"{folder}/{node.name}",
                    Digest(node.digest.hash, node.digest.size_bytes, digest.function),
                )
                for node in reversed(below)
            ]

    def _make_at_random(self, folder: str, directory: reapi.Directory, tree: InputTree) -> None:
        entries: list[reapi.FileNode | reapi.SymlinkNode] = [*directory.files, *directory.symlinks]
        for entry in self._ordered(entries):
            if isinstance(entry, reapi.FileNode):
                self._make_files(folder, [entry], tree)
            else:
                self._make_links(folder, [entry])

    def _ordered(self, entries: list[Entry]) -> list[Entry]:
        if self._random is not None:
            self._random.shuffle(entries)
        return entries

    def _make_folder(
        self, folder: str, properties: reapi.NodeProperties = WITHOUT_PROPERTIES
    ) -> None:
        os.mkdir(folder)  # noqa: PTH102 - strings: a tree can have many thousands of these
        os.chmod(folder, FOLDER_MODE)  # noqa: PTH101 - whatever the worker's umask
        if self.user is not None:
            os.chown(folder, self.user, self.user)
        self._folders[folder] = properties

    def _make_files(self, folder: str, files: Iterable[reapi.FileNode], tree: InputTree) -> None:
        function = tree.root.function
        for node in files:
            digest = Digest(node.digest.hash, node.digest.size_bytes, function)
            file = File(digest, node.is_executable)
            source, target = self.path(file), f"{folder}/{node.name}"
            if node.HasField("node_properties"):
                self._make_file(source, target, file.mode, node.node_properties)
                continue
            if self.linked:
                try:
                    os.link(source, target)
                except OSError as error:
                    if error.errno == errno.EXDEV:  # the tree is in memory
                        self.linked = False
                    elif error.errno != errno.EMLINK:  # one inode can have 65,000 links on ext4
                        raise
                else:
                    continue
            copy(source, target, mode=file.mode, modified_ns=self.modified_ns)

    def _make_file(
        self, source: str, target: str, mode: int, properties: reapi.NodeProperties
    ) -> None:
        """Make a file as the client describes it: a copy, since a link shares time and mode."""
        copy(source, target, mode=given_mode(properties, mode), modified_ns=self._time(properties))
        if self.user is not None and properties.HasField("unix_mode"):
            os.chown(target, self.user, self.user)  # whose mode it is

    def _time(self, properties: reapi.NodeProperties) -> int:
        time = given_time(properties, self.modified_ns)
        self.times.add(time)
        return time

    def _make_links(self, folder: str, links: Iterable[reapi.SymlinkNode]) -> None:
        for link in links:
            path = f"{folder}/{link.name}"
            os.symlink(link.target, path)  # noqa: PTH211
            if self.user is not None:
                os.chown(path, self.user, self.user, follow_symlinks=False)
            time = self._time(link.node_properties)
            os.utime(path, ns=(time, time), follow_symlinks=False)

    def _make_parent(self, parent: str) -> None:
        current = str(self.root)
        for name in parent.split("/") if parent else ():
            current = f"{current}/{name}"
            try:
                mode = os.lstat(current).st_mode
            except FileNotFoundError:
                self._make_folder(current)
                continue
            if stat.S_ISLNK(mode):
                current = inside(self.root, current) or ""
                mode = os.lstat(current).st_mode if current else 0
            if not stat.S_ISDIR(mode):
                raise InvalidMessage(
                    f"output parent {parent!r}: the input {name!r} is no folder of the input root"
                )


def inside(root: Path, path: str) -> str | None:
    """Return `path` with all links followed, if it is at or below `root` and there; else None."""
    try:
        real = os.path.realpath(path, strict=True)
    except OSError:
        return None
    return real if real == str(root) or real.startswith(f"{root}/") else None
