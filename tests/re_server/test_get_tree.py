"""GetTree's pages and tokens, piece by piece; tests/protocol has the method as clients see it."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies

from cas.digest import Digest
from cas.memory import MemoryStore
from cas.store import BlobNotFound
from cas.tree import TreeLimits, TreeTooLarge
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi
from re_client.status import Refused
from re_server.get_tree import PAGE_BYTES, pages
from tests.cas.stores import put

LIMITS = TreeLimits()


async def folder(store: MemoryStore, *children: Digest, label: str = "") -> Digest:
    """Keep a Directory that holds `children`."""
    made = reapi.Directory()
    for number, child in enumerate(children):
        made.directories.add(name=f"d{number:06}", digest=digest_to(child))
    if label:
        made.symlinks.add(name="label", target=label)
    return await put(store, made.SerializeToString(deterministic=True))


async def wide(store: MemoryStore, count: int) -> Digest:
    """Keep a root of `count` - 1 children."""
    children = [await folder(store, label=str(number)) for number in range(count - 1)]
    return await folder(store, *children)


async def read(
    store: MemoryStore,
    root: Digest,
    *,
    page_size: int = 0,
    token: str = "",
    limits: TreeLimits = LIMITS,
) -> list[reapi.GetTreeResponse]:
    found = pages(store, root, page_size=page_size, page_token=token, limits=limits)
    return [page async for page in found]


def directories(answers: list[reapi.GetTreeResponse]) -> list[bytes]:
    return [
        one.SerializeToString(deterministic=True) for page in answers for one in page.directories
    ]


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 8, 9, 1000, 0])
async def test_every_token_goes_on_where_its_page_ended(page_size: int) -> None:
    store = MemoryStore()
    root = await wide(store, 8)
    whole = await read(store, root, page_size=page_size)
    every = directories(whole)
    assert len(every) == len(set(every)) == 8
    assert [bool(page.next_page_token) for page in whole] == [True] * (len(whole) - 1) + [False]
    sent = 0
    for page in whole[:-1]:
        assert len(page.directories) == page_size
        sent += len(page.directories)
        rest = await read(store, root, token=page.next_page_token)
        assert directories(rest) == every[sent:]


async def test_pages_are_cut_by_bytes_too() -> None:
    store = MemoryStore()
    children = [
        await folder(store, label=f"{number}" + "x" * (PAGE_BYTES // 3)) for number in range(7)
    ]
    answers = await read(store, await folder(store, *children))
    assert len(answers) > 2
    for page in answers:
        assert page.ByteSize() <= PAGE_BYTES + 1000
    assert len(directories(answers)) == 8


async def test_one_directory_larger_than_a_page_is_a_page() -> None:
    store = MemoryStore()
    huge = await folder(store, label="x" * (2 * PAGE_BYTES))
    answers = await read(store, await folder(store, huge, await folder(store, label="small")))
    assert [len(page.directories) for page in answers] == [1, 1, 1]


def token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text", ["", "1", "x {}", "0 {}", "-1 {}", "1 {} 2", "1  {}", "9 {}", "1 0000000000000000"]
)
async def test_a_token_that_was_not_given_out_is_refused(text: str) -> None:
    store = MemoryStore()
    root = await wide(store, 3)
    with pytest.raises(Refused, match="page_token"):
        await read(store, root, token=token(text.format(root.hash[:16])) or "=")


@settings(max_examples=100, deadline=None, database=None)
@given(strategies.text(min_size=1, max_size=40))
async def test_whatever_a_token_is_it_is_refused_or_resumed(text: str) -> None:
    store = MemoryStore()
    with pytest.raises(Refused, match="page_token"):
        await read(store, await wide(store, 3), token=text)


async def test_a_negative_page_size_is_refused() -> None:
    store = MemoryStore()
    with pytest.raises(Refused, match="page_size"):
        await read(store, await wide(store, 3), page_size=-1)


async def test_a_missing_directory_is_left_out_with_all_that_only_it_leads_to() -> None:
    # REAPI rule: missing parts are omitted; NOT_FOUND is for the root alone.
    store = MemoryStore()
    shared = await folder(store, label="shared")
    hidden = await folder(store, label="hidden")
    gone_data = reapi.Directory()
    for name, digest in (("a", shared), ("b", hidden)):
        gone_data.directories.add(name=name, digest=digest_to(digest))
    gone = Digest.of(gone_data.SerializeToString(deterministic=True))
    found = directories(await read(store, await folder(store, gone, shared)))
    assert [Digest.of(data) for data in found[1:]] == [shared]
    with pytest.raises(BlobNotFound):
        await read(store, gone)


async def test_the_empty_directory_is_there_and_only_under_its_own_name() -> None:
    # REAPI rule: the size is part of the name, and so is the hash of an empty blob.
    store = MemoryStore()
    assert len(directories(await read(store, Digest.of(b"")))) == 1
    false = Digest("0" * 64, 0)
    with pytest.raises(BlobNotFound):
        await read(store, false)
    assert len(directories(await read(store, await folder(store, false, Digest.of(b""))))) == 2


async def test_shared_directories_come_once() -> None:
    store = MemoryStore()
    below = await folder(store, label="leaf")
    for _ in range(100):
        below = await folder(store, below, below, below)
    assert len(directories(await read(store, below))) == 101


async def test_a_tree_over_a_bound_is_refused() -> None:
    store = MemoryStore()
    root = await wide(store, 6)
    assert len(directories(await read(store, root, limits=replace(LIMITS, directories=6)))) == 6
    with pytest.raises(TreeTooLarge, match="5 directories"):
        await read(store, root, limits=replace(LIMITS, directories=5))
    assert await read(store, root, limits=replace(LIMITS, depth=2))
    with pytest.raises(TreeTooLarge, match="1 directories deep"):
        await read(store, root, limits=replace(LIMITS, depth=1))
    with pytest.raises(TreeTooLarge, match="bytes"):
        await read(store, Digest("0" * 64, LIMITS.bytes + 1))


async def test_the_depth_is_that_of_the_shortest_path() -> None:
    store = MemoryStore()
    leaf = await folder(store, label="leaf")
    middle = await folder(store, leaf)
    root = await folder(store, middle, leaf)
    assert len(directories(await read(store, root, limits=replace(LIMITS, depth=2)))) == 3
