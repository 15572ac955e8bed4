from __future__ import annotations

from dataclasses import replace

import pytest

from action_cache.references import complete
from action_cache.results import Kept
from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.memory import MemoryStore
from cas.tree import InvalidMessage, MissingInputs, TreeLimits, TreeTooLarge
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi

LIMITS = TreeLimits()
FUNCTIONS = list(DigestFunction)


class Shelf:
    """Blobs that are there, and the names of blobs that are not."""

    def __init__(self, function: DigestFunction = DigestFunction.SHA256) -> None:
        self.store = MemoryStore()
        self.function = function

    async def put(self, data: bytes) -> reapi.Digest:
        await self.store.write_all(data, digest := Digest.of(data, self.function))
        return digest_to(digest)

    def absent(self, data: bytes) -> reapi.Digest:
        return digest_to(Digest.of(data, self.function))

    def named(self, *blobs: bytes) -> set[Digest]:
        return {Digest.of(data, self.function) for data in blobs}

    async def complete(self, result: reapi.ActionResult, limits: TreeLimits = LIMITS) -> Kept:
        return await complete(result, self.function, self.store, limits)

    async def missing(self, result: reapi.ActionResult) -> set[Digest]:
        with pytest.raises(MissingInputs) as caught:
            await self.complete(result)
        return set(caught.value.digests)


def folder(*files: reapi.Digest, **folders: reapi.Digest) -> reapi.Directory:
    """Return a Directory of `files`, named by number, and of `folders`."""
    made = reapi.Directory()
    for number, digest in enumerate(files):
        made.files.add(name=f"f{number}", digest=digest)
    for name in sorted(folders):
        made.directories.add(name=name, digest=folders[name])
    return made


def encoded(message: reapi.Directory | reapi.Tree) -> bytes:
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_files_and_streams_are_referred_to(function: DigestFunction) -> None:
    shelf = Shelf(function)
    result = reapi.ActionResult()
    result.output_files.add(path="a", digest=await shelf.put(b"a"))
    result.output_files.add(path="b", digest=await shelf.put(b"b"))
    result.stdout_digest.CopyFrom(await shelf.put(b"out"))
    result.stderr_digest.CopyFrom(await shelf.put(b"err"))
    kept = await shelf.complete(result)
    assert kept.references == shelf.named(b"a", b"b", b"out", b"err")
    assert kept.result == result


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_a_tree_and_the_files_of_all_its_directories_are_referred_to(
    function: DigestFunction,
) -> None:
    # REAPI rule: a hit is complete through its Trees.
    shelf = Shelf(function)
    child = folder(await shelf.put(b"deep"))
    root = folder(await shelf.put(b"top"), below=shelf.absent(encoded(child)))
    tree = encoded(reapi.Tree(root=root, children=[child]))
    result = reapi.ActionResult()
    result.output_directories.add(path="d", tree_digest=await shelf.put(tree))
    assert (await shelf.complete(result)).references == shelf.named(b"top", b"deep", tree)


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_a_root_directory_and_all_below_it_are_referred_to(function: DigestFunction) -> None:
    # REAPI rule: a hit is complete through root_directory_digest and its sub-directories.
    shelf = Shelf(function)
    leaf = encoded(folder(await shelf.put(b"leaf")))
    middle = encoded(folder(leaf=await shelf.put(leaf)))
    root = encoded(folder(await shelf.put(b"top"), a=await shelf.put(middle), b=shelf.absent(leaf)))
    result = reapi.ActionResult()
    result.output_directories.add(path="d", root_directory_digest=await shelf.put(root))
    kept = await shelf.complete(result)
    assert kept.references == shelf.named(b"leaf", b"top", leaf, middle, root)


async def test_a_directory_given_in_both_forms_refers_to_both() -> None:
    shelf = Shelf()
    directory = folder(await shelf.put(b"file"))
    tree = encoded(reapi.Tree(root=directory))
    result = reapi.ActionResult()
    result.output_directories.add(
        path="d",
        tree_digest=await shelf.put(tree),
        root_directory_digest=await shelf.put(encoded(directory)),
    )
    kept = await shelf.complete(result)
    assert kept.references == shelf.named(b"file", tree, encoded(directory))


async def test_all_that_is_missing_is_named_at_once() -> None:
    # REAPI rule: all missing blobs are listed.
    shelf = Shelf()
    tree = encoded(reapi.Tree(root=folder(shelf.absent(b"in a tree"))))
    root = encoded(folder(shelf.absent(b"in a directory"), gone=shelf.absent(b"\x0a\x00")))
    result = reapi.ActionResult()
    result.output_files.add(path="a", digest=shelf.absent(b"file"))
    result.output_files.add(path="b", digest=await shelf.put(b"there"))
    result.output_directories.add(path="c", tree_digest=shelf.absent(b"tree"))
    result.output_directories.add(path="d", tree_digest=await shelf.put(tree))
    result.output_directories.add(path="e", root_directory_digest=await shelf.put(root))
    result.output_directories.add(path="f", root_directory_digest=shelf.absent(b"root"))
    result.stdout_digest.CopyFrom(shelf.absent(b"out"))
    result.stderr_digest.CopyFrom(shelf.absent(b"err"))
    assert await shelf.missing(result) == shelf.named(
        b"file", b"tree", b"in a tree", b"in a directory", b"\x0a\x00", b"root", b"out", b"err"
    )


async def test_empty_blobs_are_there_and_nothing_refers_to_what_is_inline() -> None:
    # REAPI rule: the empty blob is always present.
    shelf = Shelf()
    result = reapi.ActionResult(stdout_raw=b"out", stderr_raw=b"err")
    result.output_files.add(path="a", digest=shelf.absent(b""))
    result.output_directories.add(path="d", tree_digest=shelf.absent(b""))
    result.output_directories.add(path="e", root_directory_digest=shelf.absent(b""))
    assert (await shelf.complete(result)).references == shelf.named(b"")
    assert (await shelf.complete(reapi.ActionResult())).references == frozenset()


@pytest.mark.parametrize("field", ["tree_digest", "root_directory_digest"])
async def test_what_is_no_tree_is_refused(field: str) -> None:
    shelf = Shelf()
    result = reapi.ActionResult()
    output = result.output_directories.add(path="d")
    getattr(output, field).CopyFrom(await shelf.put(b"\xff\xfe neither"))
    with pytest.raises(InvalidMessage):
        await shelf.complete(result)


@pytest.mark.parametrize("hash", ["", "x", "A" * 64])
async def test_what_is_no_digest_is_refused(hash: str) -> None:
    shelf = Shelf()
    wrong = reapi.Digest(hash=hash, size_bytes=1)
    for result in (
        reapi.ActionResult(output_files=[reapi.OutputFile(path="a", digest=wrong)]),
        reapi.ActionResult(stdout_digest=wrong),
        reapi.ActionResult(stderr_digest=wrong),
        reapi.ActionResult(output_directories=[reapi.OutputDirectory(tree_digest=wrong)]),
        reapi.ActionResult(output_directories=[reapi.OutputDirectory(root_directory_digest=wrong)]),
    ):
        with pytest.raises(InvalidDigest):
            await shelf.complete(result)


async def test_trees_over_the_bound_are_refused_before_they_are_read() -> None:
    shelf = Shelf()
    result = reapi.ActionResult()
    huge = reapi.Digest(hash="0" * 64, size_bytes=LIMITS.bytes // 2 + 1)
    result.output_directories.add(path="a", tree_digest=huge)
    assert await shelf.missing(result) == {Digest(huge.hash, huge.size_bytes)}
    result.output_directories.add(
        path="b", tree_digest=reapi.Digest(hash="1" * 64, size_bytes=huge.size_bytes)
    )
    with pytest.raises(TreeTooLarge):
        await shelf.complete(result)


async def test_the_same_tree_many_times_counts_once() -> None:
    shelf = Shelf()
    tree = encoded(reapi.Tree(root=folder(await shelf.put(b"file"))))
    result = reapi.ActionResult()
    for number in range(50):
        result.output_directories.add(path=f"d{number}", tree_digest=await shelf.put(tree))
    kept = await shelf.complete(result, replace(LIMITS, bytes=len(tree)))
    assert kept.references == shelf.named(b"file", tree)


async def test_a_root_that_is_too_deep_is_refused() -> None:
    shelf = Shelf()
    data = encoded(folder())
    for _ in range(5):
        data = encoded(folder(d=await shelf.put(data)))
    result = reapi.ActionResult()
    result.output_directories.add(path="d", root_directory_digest=await shelf.put(data))
    with pytest.raises(TreeTooLarge):
        await shelf.complete(result, replace(LIMITS, depth=4))
    assert (await shelf.complete(result)).references
