"""Directory trees that checks upload and ask about."""

from __future__ import annotations

from dataclasses import dataclass, field

from conformance.digests import Function
from conformance.target import Target, unique
from protos import remote_execution_pb2 as reapi


@dataclass
class Tree:
    """Directories in canonical form, the root first. files: bytes of the files below it."""

    directories: list[reapi.Directory] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)

    @property
    def root(self) -> reapi.Directory:
        return self.directories[0]

    def encoded(self) -> list[bytes]:
        """Return each directory's bytes, the root's first."""
        return [encoded(each) for each in self.directories]


def encoded(message: reapi.Directory | reapi.Action | reapi.Command | reapi.Tree) -> bytes:
    """Return the bytes that a message's digest is of."""
    return message.SerializeToString(deterministic=True)


def small_tree(function: Function) -> Tree:
    """Return a root with a file of its own, and two folders below it, one within the other."""
    files = [unique(20), unique(30)]
    inner = reapi.Directory()
    inner.files.add(name="f", digest=function.digest(files[0]))
    outer = reapi.Directory()
    outer.directories.add(name="inner", digest=function.digest(encoded(inner)))
    root = reapi.Directory()
    root.files.add(name="f", digest=function.digest(files[1]), is_executable=True)
    root.directories.add(name="outer", digest=function.digest(encoded(outer)))
    root.symlinks.add(name="link", target="outer/inner/f")
    return Tree([root, outer, inner], files)


def wide_tree(function: Function, folders: int) -> Tree:
    """Return a root with `folders` different folders in it."""
    root, below = reapi.Directory(), []
    for number in range(folders):
        folder = reapi.Directory()
        folder.symlinks.add(name="here", target=f"{unique(8).hex()}/{number}")
        below.append(folder)
        root.directories.add(name=f"d{number:05}", digest=function.digest(encoded(folder)))
    return Tree([root, *below])


def doubling_tree(function: Function, levels: int) -> Tree:
    """Return a tree of 2**levels paths to one file, of `levels` different directories."""
    file = unique(20)
    below = reapi.Directory()
    below.files.add(name="f", digest=function.digest(file))
    directories = [below]
    for _ in range(levels):
        above = reapi.Directory()
        for name in ("a", "b"):
            above.directories.add(name=name, digest=function.digest(encoded(directories[0])))
        directories.insert(0, above)
    return Tree(directories, [file])


def deep_tree(function: Function, levels: int) -> Tree:
    """Return a tree of `levels` folders, each in the one before."""
    below = reapi.Directory()
    below.symlinks.add(name="end", target=unique(8).hex())
    directories = [below]
    for _ in range(levels):
        above = reapi.Directory()
        above.directories.add(name="d", digest=function.digest(encoded(directories[-1])))
        directories.append(above)
    return Tree(directories[::-1])


async def put_tree(target: Target, tree: Tree) -> reapi.Digest:
    """Upload all of `tree`, in batches, and return the digest of its root."""
    blobs = [*tree.files, *tree.encoded()]
    for start in range(0, len(blobs), 1000):
        await target.put(*blobs[start : start + 1000])
    return target.digest(encoded(tree.root))
