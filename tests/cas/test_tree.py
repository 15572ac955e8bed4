"""Directories and Trees: what is canonical, what is missing, and how much is too much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cas.digest import Digest, DigestFunction
from cas.memory import MemoryStore
from cas.store import BlobStore
from cas.tree import (
    InvalidMessage,
    MissingInputs,
    TreeLimits,
    TreeTooLarge,
    check_directory,
    children,
    is_empty,
    load_inputs,
    parse_directory,
    parse_tree,
    tree_files,
)
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi
from tests.cas.stores import disk, memory

SHA256 = DigestFunction.SHA256
EMPTY = Digest.of(b"")
LIMITS = TreeLimits()


def file(name: str, data: bytes = b"data") -> reapi.FileNode:
    return reapi.FileNode(name=name, digest=digest_to(Digest.of(data)))


def folder(name: str, of: reapi.Directory | Digest = EMPTY) -> reapi.DirectoryNode:
    digest = of if isinstance(of, Digest) else Digest.of(of.SerializeToString(deterministic=True))
    return reapi.DirectoryNode(name=name, digest=digest_to(digest))


def link(name: str, target: str = "target") -> reapi.SymlinkNode:
    return reapi.SymlinkNode(name=name, target=target)


async def put(store: BlobStore, directory: reapi.Directory) -> Digest:
    data = directory.SerializeToString(deterministic=True)
    await store.write_all(data, digest := Digest.of(data))
    return digest


@pytest.fixture(params=[memory, disk], ids=["memory", "disk"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    async with request.param(tmp_path) as made:
        yield made


# Directories


def test_a_canonical_directory_is_read() -> None:
    # REAPI rule: names are sorted by their UTF-8 bytes, not by character or locale.
    directory = reapi.Directory(
        files=[file("A"), file("B.c"), file("a"), file("é"), file("\uffee"), file("\U0001f600")],
        directories=[folder("b"), folder("b.d"), folder("b0")],
        symlinks=[link("c", "../b"), link("d", "/absolute")],
    )
    data = directory.SerializeToString(deterministic=True)
    assert parse_directory(data, Digest.of(data)) == directory
    assert parse_directory(b"", EMPTY) == reapi.Directory()


NOT_CANONICAL = {
    "files: '' is not a single path segment": reapi.Directory(files=[file("")]),
    "files: '.' is not a single path segment": reapi.Directory(files=[file(".")]),
    "directories: '..' is not a single path segment": reapi.Directory(directories=[folder("..")]),
    "symlinks: 'a/b' is not a single path segment": reapi.Directory(symlinks=[link("a/b")]),
    "files: '/a' is not a single path segment": reapi.Directory(files=[file("/a")]),
    "files: 'a\\x00' is not a single path segment": reapi.Directory(files=[file("a\0")]),
    "files are not sorted: 'a' comes after 'b'": reapi.Directory(files=[file("b"), file("a")]),
    "files are not sorted: 'a.c' comes after 'a0'": reapi.Directory(
        files=[file("a0"), file("a.c")]
    ),
    "directories are not sorted: 'B' comes after 'a'": reapi.Directory(
        directories=[folder("a"), folder("B")]
    ),
    "symlinks are not sorted: 'é' comes after '\uffee'": reapi.Directory(
        symlinks=[link("\uffee"), link("é")]
    ),
    "the name 'a' stands twice": reapi.Directory(files=[file("a"), file("a")]),
    "the name 'b' stands twice": reapi.Directory(files=[file("b")], directories=[folder("b")]),
    "the name 'c' stands twice": reapi.Directory(directories=[folder("c")], symlinks=[link("c")]),
    "the name 'd' stands twice": reapi.Directory(files=[file("d")], symlinks=[link("d")]),
    "'a' has no digest": reapi.Directory(files=[reapi.FileNode(name="a")]),
    "'b' has no digest": reapi.Directory(directories=[reapi.DirectoryNode(name="b")]),
    "'a': digest hash 'xyz': a sha256 hash is 64 lowercase hexadecimal characters": (
        reapi.Directory(files=[reapi.FileNode(name="a", digest=reapi.Digest(hash="xyz"))])
    ),
    "'a': digest size_bytes -1: must be 0 or more": reapi.Directory(
        directories=[
            reapi.DirectoryNode(name="a", digest=reapi.Digest(hash="0" * 64, size_bytes=-1))
        ]
    ),
    "symlink 'a' has the target ''": reapi.Directory(symlinks=[link("a", "")]),
    "symlink 'a' has the target 'b\\x00'": reapi.Directory(symlinks=[link("a", "b\0")]),
}


@pytest.mark.parametrize("told", NOT_CANONICAL)
def test_a_directory_that_is_not_canonical_is_refused_with_the_entry_at_fault(told: str) -> None:
    # REAPI rule: names of a Directory are single segments, unique across its kinds, and sorted.
    data = NOT_CANONICAL[told].SerializeToString(deterministic=True)
    with pytest.raises(InvalidMessage) as error:
        parse_directory(data, Digest.of(data))
    assert str(error.value) == f"Directory {Digest.of(data)}: {told}"
    with pytest.raises(InvalidMessage) as error:
        check_directory(NOT_CANONICAL[told], SHA256)
    assert str(error.value) == told


def test_a_directory_whose_fields_are_out_of_order_is_refused() -> None:
    # REAPI rule: the serialisation has its fields in the order of their tags.
    first = reapi.Directory(files=[file("a")]).SerializeToString()
    second = reapi.Directory(directories=[folder("b")]).SerializeToString()
    parse_directory(first + second, EMPTY)
    with pytest.raises(InvalidMessage, match="fields that are not in order"):
        parse_directory(second + first, EMPTY)


@pytest.mark.parametrize("data", [b"\xba\x3e\x01x", b"\x0a\x05\xba\x3e\x02xy"])
def test_a_directory_with_unknown_fields_is_refused(data: bytes) -> None:
    # REAPI rule: a canonical Directory has no unknown fields. 0xba 0x3e: field 999, length-coded.
    with pytest.raises(InvalidMessage):
        parse_directory(data, EMPTY)
    named = reapi.Directory(files=[file("a")]).SerializeToString()
    with pytest.raises(InvalidMessage, match="has unknown fields"):
        parse_directory(named + b"\xba\x3e\x01x", EMPTY)


def test_what_is_no_directory_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=f"blob {EMPTY} is not a Directory: "):
        parse_directory(b"#!/bin/sh\n", EMPTY)


# Input trees


async def test_the_empty_directory_is_a_whole_input_root(store: BlobStore) -> None:
    # REAPI rule: an empty input root is the empty blob, which nobody uploads.
    tree = await load_inputs(store, EMPTY, LIMITS)
    assert tree.directories == {EMPTY: reapi.Directory()}
    assert tree.files == set()


async def test_all_directories_and_files_are_found_each_once(store: BlobStore) -> None:
    shared = reapi.Directory(files=[file("shared", b"shared")])
    left = reapi.Directory(files=[file("left", b"left")], directories=[folder("s", shared)])
    root = reapi.Directory(
        files=[file("empty", b""), file("top", b"top")],
        directories=[folder("e"), folder("l", left), folder("s", shared), folder("t", shared)],
        symlinks=[link("z")],
    )
    for data in [b"shared", b"left", b"top"]:
        await store.write_all(data, Digest.of(data))
    digests = [await put(store, directory) for directory in [root, left, shared]]
    tree = await load_inputs(store, digests[0], LIMITS)
    assert tree.root == digests[0]
    assert tree.directories.keys() == {*digests, EMPTY}
    assert [tree.directory(digest) for digest in digests] == [root, left, shared]
    assert tree.files == {Digest.of(data) for data in [b"shared", b"left", b"top", b""]}


async def test_all_that_is_missing_is_named_at_once(store: BlobStore) -> None:
    # REAPI rule: FAILED_PRECONDITION lists every blob that is missing.
    gone = reapi.Directory(files=[file("unknown", b"nobody can know")])
    below = reapi.Directory(files=[file("deep", b"deep")], directories=[folder("gone", gone)])
    root = reapi.Directory(
        files=[file("here", b"here"), file("top", b"top")],
        directories=[folder("a", below), folder("gone", gone)],
    )
    await store.write_all(b"here", Digest.of(b"here"))
    digest = await put(store, root)
    await put(store, below)
    with pytest.raises(MissingInputs) as told:
        await load_inputs(store, digest, LIMITS)
    missing = {Digest.of(gone.SerializeToString()), Digest.of(b"deep"), Digest.of(b"top")}
    assert told.value.digests == sorted(missing)
    with pytest.raises(MissingInputs) as told:
        await load_inputs(store, absent := Digest.of(b"no root"), LIMITS)
    assert told.value.digests == [absent]


def test_missing_inputs_names_five_and_counts_the_rest() -> None:
    digests = sorted(Digest.of(b"%d" % number) for number in range(7))
    told = str(MissingInputs([*digests, *digests]))
    assert told.startswith("missing from the store, upload them and try again: ")
    assert told.endswith(f"{digests[4]} and 2 more")
    assert str(MissingInputs(digests[:5])).endswith(str(digests[4]))


async def test_a_directory_that_is_not_canonical_is_named_wherever_it_lies(
    store: BlobStore,
) -> None:
    below = reapi.Directory(files=[file("b"), file("a")])
    root = await put(store, reapi.Directory(directories=[folder("below", below)]))
    named = await put(store, below)
    with pytest.raises(InvalidMessage, match=f"Directory {named}: files are not sorted"):
        await load_inputs(store, root, LIMITS)


# Bounds


async def _chain(store: BlobStore, depth: int) -> list[reapi.Directory]:
    """Store directories of which each contains the one before; return them, the deepest first."""
    directories = [reapi.Directory()]
    while len(directories) < depth:
        directories.append(reapi.Directory(directories=[folder("d", directories[-1])]))
    for directory in directories[1:]:
        await put(store, directory)
    return directories


async def test_depth_is_bounded() -> None:
    store = MemoryStore()
    chain = await _chain(store, 6)
    root = Digest.of(chain[-1].SerializeToString())
    assert len((await load_inputs(store, root, replace(LIMITS, depth=6))).directories) == 6
    with pytest.raises(TreeTooLarge, match=f"{root} is more than 5 directories deep"):
        await load_inputs(store, root, replace(LIMITS, depth=5))


async def test_a_short_cut_hides_no_depth() -> None:
    store = MemoryStore()
    chain = await _chain(store, 10)
    short_cuts = [folder(f"{number}", one) for number, one in enumerate(chain)]
    root = await put(store, reapi.Directory(directories=short_cuts))
    await load_inputs(store, root, replace(LIMITS, depth=11))
    with pytest.raises(TreeTooLarge, match="is more than 10 directories deep"):
        await load_inputs(store, root, replace(LIMITS, depth=10))


async def test_the_number_of_directories_is_bounded() -> None:
    store = MemoryStore()
    below = [reapi.Directory(symlinks=[link("n", f"{number}")]) for number in range(9)]
    root = await put(
        store,
        reapi.Directory(directories=[folder(f"{n}", one) for n, one in enumerate(below)]),
    )
    for one in below:
        await put(store, one)
    await load_inputs(store, root, replace(LIMITS, directories=10))
    with pytest.raises(TreeTooLarge, match=f"{root} has more than 9 directories"):
        await load_inputs(store, root, replace(LIMITS, directories=9))


async def test_the_number_of_entries_is_bounded() -> None:
    store = MemoryStore()
    await store.write_all(b"data", Digest.of(b"data"))
    root = await put(
        store,
        reapi.Directory(
            files=[file("a"), file("b")], directories=[folder("c")], symlinks=[link("d")]
        ),
    )
    await load_inputs(store, root, replace(LIMITS, nodes=4))
    with pytest.raises(TreeTooLarge, match=f"{root} has more than 3 entries"):
        await load_inputs(store, root, replace(LIMITS, nodes=3))


async def test_the_number_of_paths_is_bounded() -> None:
    store = MemoryStore()
    await store.write_all(b"data", Digest.of(b"data"))
    shared = reapi.Directory(files=[file("a"), file("b")])
    root = await put(store, reapi.Directory(directories=[folder(name, shared) for name in "xyz"]))
    await put(store, shared)
    await load_inputs(store, root, replace(LIMITS, paths=9))
    with pytest.raises(TreeTooLarge, match=f"{root} unfolds to over 8 paths"):
        await load_inputs(store, root, replace(LIMITS, paths=8))


async def test_a_few_shared_directories_of_very_many_paths_are_refused() -> None:
    # 41 blobs unfold to 2^40 paths: walking them would not end before the test's time-out.
    store = MemoryStore()
    directory = reapi.Directory()
    for _ in range(40):
        directory = reapi.Directory(directories=[folder("a", directory), folder("b", directory)])
        await put(store, directory)
    root = await put(store, directory)
    with pytest.raises(TreeTooLarge, match="unfolds to over 2000000 paths"):
        await load_inputs(store, root, LIMITS)


async def test_one_large_directory_below_each_of_a_chain_is_found_once() -> None:
    store = MemoryStore()
    large = reapi.Directory(symlinks=[link(f"{number:06}") for number in range(20_000)])
    large_digest = await put(store, large)
    directory = reapi.Directory()
    for _ in range(80):
        directory = reapi.Directory(directories=[folder("a", large_digest), folder("b", directory)])
        await put(store, directory)
    root = await put(store, directory)
    assert len((await load_inputs(store, root, LIMITS)).directories) == 82


async def test_bytes_of_directories_are_bounded_before_they_are_read(store: BlobStore) -> None:
    below = reapi.Directory(symlinks=[link("a", "b" * 1000)])
    directory = reapi.Directory(directories=[folder("below", below)])
    root = await put(store, directory)
    bound = root.size + len(below.SerializeToString())
    with pytest.raises(MissingInputs):
        await load_inputs(store, root, replace(LIMITS, bytes=bound))
    with pytest.raises(TreeTooLarge, match=f"input root {root} exceed {bound - 1} bytes"):
        await load_inputs(store, root, replace(LIMITS, bytes=bound - 1))


# Trees


def test_a_tree_is_read_and_its_files_are_named() -> None:
    below = reapi.Directory(files=[file("b", b"b"), file("c", b"c")])
    tree = reapi.Tree(
        root=reapi.Directory(files=[file("a", b"a")], directories=[folder("d", below)]),
        children=[below],
    )
    data = tree.SerializeToString()
    assert parse_tree(data, Digest.of(data)) == tree
    assert tree_files(tree, SHA256) == {Digest.of(one) for one in [b"a", b"b", b"c"]}
    assert list(children(tree.root, SHA256)) == [Digest.of(below.SerializeToString())]


def test_a_tree_of_directories_that_are_not_canonical_is_refused() -> None:
    bad = reapi.Directory(files=[file("b"), file("a")])
    for tree in [reapi.Tree(root=bad), reapi.Tree(children=[reapi.Directory(), bad])]:
        data = tree.SerializeToString()
        with pytest.raises(InvalidMessage, match=f"Tree {Digest.of(data)}: files are not sorted"):
            parse_tree(data, Digest.of(data))


def test_what_is_no_tree_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=f"blob {EMPTY} is not a Tree: "):
        parse_tree(b"#!/bin/sh\n", EMPTY)


@pytest.mark.parametrize("function", DigestFunction)
def test_only_the_empty_blob_is_empty(function: DigestFunction) -> None:
    assert is_empty(Digest.of(b"", function))
    assert not is_empty(Digest.of(b"a", function))
    assert not is_empty(Digest.of(b"", function)._replace(size=1))
    assert not is_empty(Digest.of(b"a", function)._replace(size=0))
