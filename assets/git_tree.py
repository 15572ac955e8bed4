"""The files of a revision, read out of git's objects."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import IO

from assets.fault import AssetNotFound, AssetTooLarge, ContentMismatch
from assets.git import Git
from assets.tree_builder import MAX_TARGET_BYTES, TreeBuilder

READ_BYTES = 1 << 18
MAX_LISTING_BYTES = 256 << 20
_SUBMODULE, _LINK, _EXECUTABLE = "160000", "120000", "100755"


def read_revision(git: Git, commit: str, directory: str, tree: TreeBuilder) -> None:
    """Add all files below `directory` of a commit to `tree`; submodules are empty directories.

    Raises AssetNotFound if it has no such directory, ContentMismatch, AssetTooLarge, FetchEnded.
    """
    listing = _listing(git, commit, directory)
    with subprocess.Popen(  # noqa: S603
        git.command("cat-file", "--batch"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=git.environment,
    ) as objects:
        try:
            for entry in filter(None, listing.split(b"\0")):
                _add(entry, objects, tree)
        finally:
            objects.kill()


def _listing(git: Git, commit: str, directory: str) -> bytes:
    with subprocess.Popen(  # noqa: S603
        git.command("ls-tree", "-r", "-z", f"{commit}:{directory}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=git.environment,
    ) as process:
        assert process.stdout is not None
        listing = process.stdout.read(MAX_LISTING_BYTES)
        if process.stdout.read(1):
            process.kill()
            raise AssetTooLarge(f"the list of its files has over {MAX_LISTING_BYTES} bytes")
    if process.returncode:
        raise AssetNotFound(f"the revision has no directory {directory!r}")
    return listing


def _add(entry: bytes, objects: subprocess.Popen[bytes], tree: TreeBuilder) -> None:
    head, _, encoded = entry.partition(b"\t")
    mode, _, name_of_object = head.decode().split(" ")
    name = encoded.decode(errors="surrogateescape")
    if mode == _SUBMODULE:
        tree.directory(name)
        return
    assert objects.stdin is not None
    assert objects.stdout is not None
    objects.stdin.write(f"{name_of_object}\n".encode())
    objects.stdin.flush()
    answer = objects.stdout.readline().split(b" ")
    if len(answer) != 3:  # noqa: PLR2004 - name, kind, size
        raise ContentMismatch(f"the repository lacks the contents of {name!r}")
    size = int(answer[2])
    chunks = _chunks(objects.stdout, size)
    if mode != _LINK:
        tree.file(name, chunks, executable=mode == _EXECUTABLE)
    elif size > MAX_TARGET_BYTES:
        raise ContentMismatch(f"symlink {name!r} has no usable target")
    else:
        tree.link(name, b"".join(chunks).decode(errors="surrogateescape"))
    objects.stdout.read(1)  # the newline behind each


def _chunks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        chunk = stream.read(min(size, READ_BYTES))
        if not chunk:
            raise ContentMismatch("the repository cannot be read")
        size -= len(chunk)
        yield chunk
