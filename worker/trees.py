"""Folders that an action made, as Trees."""

from __future__ import annotations

from dataclasses import dataclass, field

from cas.digest import Digest, DigestFunction
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi


@dataclass(slots=True)
class TreeBuilder:
    """Collects the Directories of one output, from below, each once."""

    function: DigestFunction
    directories: dict[Digest, tuple[reapi.Directory, bytes]] = field(default_factory=dict)

    def add(self, directory: reapi.Directory) -> Digest:
        """Take `directory`, whose own directories were added before it."""
        data = directory.SerializeToString(deterministic=True)
        digest = Digest.of(data, self.function)
        self.directories.setdefault(digest, (directory, data))
        return digest

    def tree(self, root: Digest) -> bytes:
        """Return the Tree below `root`: the root first, each directory once, before its children.

        Its order follows from the names alone, so that equal folders have equal Trees.
        Source: remote_execution.proto, OutputDirectory.is_topologically_sorted.
        """
        ordered: list[Digest] = []
        seen: set[Digest] = set()
        pending = [(root, False)]
        while pending:
            digest, left = pending.pop()
            if left:
                ordered.append(digest)
            elif digest not in seen:
                seen.add(digest)
                pending.append((digest, True))
                pending += [
                    (Digest(node.digest.hash, node.digest.size_bytes, self.function), False)
                    for node in self.directories[digest][0].directories
                ]
        ordered.reverse()
        tree = reapi.Tree(
            root=self.directories[root][0],
            children=[self.directories[digest][0] for digest in ordered[1:]],
        )
        return tree.SerializeToString(deterministic=True)

    def without_times(self, root: Digest) -> bytes:
        """Return the Tree below `root` as it would be if no node had an mtime."""
        timeless = TreeBuilder(self.function)
        renamed: dict[str, Digest] = {}
        for digest, (directory, _) in self.directories.items():  # children before their parents
            stripped = reapi.Directory()
            stripped.CopyFrom(directory)
            stripped.node_properties.ClearField("mtime")
            for file in stripped.files:
                file.node_properties.ClearField("mtime")
            for link in stripped.symlinks:
                link.node_properties.ClearField("mtime")
            for below in stripped.directories:
                below.digest.CopyFrom(digest_to(renamed[below.digest.hash]))
            renamed[digest.hash] = timeless.add(stripped)
        return timeless.tree(renamed[root.hash])
