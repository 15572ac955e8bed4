"""GetTree."""

from __future__ import annotations

from contextlib import aclosing

from grpc import StatusCode

from conformance import methods, needs
from conformance.check import MUST, ROBUSTNESS, SHOULD, Section
from conformance.refusal import BAD_INPUT, Refused
from conformance.target import Target, unique
from conformance.trees import Tree, encoded, put_tree, small_tree, wide_tree
from conformance.violation import NotApplicable, expect, refused
from protos import remote_execution_pb2 as reapi

check = Section("cas", (needs.cache,))


def _directories(pages: list[reapi.GetTreeResponse]) -> list[bytes]:
    return [encoded(directory) for page in pages for directory in page.directories]


def _expect_whole(tree: Tree, pages: list[reapi.GetTreeResponse]) -> None:
    """Expect every directory but the root, of which the text leaves open whether it is told."""
    got, wanted = set(_directories(pages)), set(tree.encoded())
    missing = wanted - got - {encoded(tree.root)}
    expect(not missing, f"{len(missing)} of {len(wanted) - 1} directories are not told")
    expect(got <= wanted, f"{len(got - wanted)} directories are told that are none of the tree's")


@check(
    MUST,
    "GetTree gives every directory below the root.",
    source="ContentAddressableStorage.GetTree, l.420-421",
)
async def every_directory_is_told(target: Target) -> None:
    tree = small_tree(target.function)
    _expect_whole(tree, await target.pages(await put_tree(target, tree)))


@check(
    SHOULD,
    "GetTree gives the root as well.",
    source="ContentAddressableStorage.GetTree, l.420-421",
)
async def the_root_is_told(target: Target) -> None:
    tree = small_tree(target.function)
    got = _directories(await target.pages(await put_tree(target, tree)))
    expect(encoded(tree.root) in got, "the root is not among the directories")


@check(
    MUST,
    "GetTree of a root that is not there is NOT_FOUND.",
    source="ContentAddressableStorage.GetTree, l.435-437",
)
async def an_absent_root_is_not_found(target: Target) -> None:
    with refused(StatusCode.NOT_FOUND):
        await target.pages(target.digest(unique()))


@check(
    MUST,
    "GetTree refuses a root whose size is wrong.",
    source="Digest, l.1083-1085",
)
async def a_root_of_a_wrong_size_is_refused(target: Target) -> None:
    root = await put_tree(target, small_tree(target.function))
    with refused():
        await target.pages(reapi.Digest(hash=root.hash, size_bytes=root.size_bytes + 1))


@check(
    MUST,
    "GetTree omits the parts of a tree that are not there, and gives the rest.",
    source="ContentAddressableStorage.GetTree, l.432-433",
)
async def absent_parts_are_omitted(target: Target) -> None:
    tree = wide_tree(target.function, 4)
    stored = Tree([tree.root, *tree.directories[2:]])
    _expect_whole(stored, await target.pages(await put_tree(target, stored)))


@check(
    MUST,
    "GetTree asks for no files: a tree whose files were never uploaded is given whole.",
    source="ContentAddressableStorage.GetTree, l.420-421",
)
async def files_are_not_asked_for(target: Target) -> None:
    tree = Tree(small_tree(target.function).directories)
    _expect_whole(tree, await target.pages(await put_tree(target, tree)))


@check(
    MUST,
    "GetTree of the empty directory is answered: its blob is always there.",
    source="ContentAddressableStorage, l.342-344",
)
async def the_empty_root_is_there(target: Target) -> None:
    got = set(_directories(await target.pages(target.digest(b""))))
    expect(got <= {b""}, "the empty directory has something in it")


@check(
    MUST,
    "GetTree gives no page of more directories than page_size says.",
    source="GetTreeRequest.page_size, l.1932-1936",
)
async def pages_are_no_larger_than_asked(target: Target) -> None:
    tree = wide_tree(target.function, 10)
    pages = await target.pages(await put_tree(target, tree), page_size=3)
    largest = max(len(page.directories) for page in pages)
    expect(largest <= 3, f"a page has {largest} directories where 3 were asked for")  # noqa: PLR2004
    _expect_whole(tree, pages)


@check(
    MUST,
    "GetTree goes on from each page_token: those pages and the ones before it are the whole tree, "
    "and none comes again.",
    source="ContentAddressableStorage.GetTree, l.423-426; GetTreeRequest.page_token, l.1938-1942",
)
async def a_token_leads_on(target: Target) -> None:
    tree = wide_tree(target.function, 10)
    root = await put_tree(target, tree)
    pages = await target.pages(root, page_size=3)
    if not pages[0].next_page_token:
        raise NotApplicable("the server gives the tree in one page, and no token")
    for told, page in enumerate(pages[:-1], 1):
        rest = await target.pages(root, page_size=3, token=page.next_page_token)
        _expect_whole(tree, [*pages[:told], *rest])
        repeated = set(_directories(rest)) & set(_directories(pages[:told]))
        expect(not repeated, "pages before the token come again")


@check(
    MUST,
    "GetTree that is broken off in the middle goes on from the token of the last page that came.",
    source="ContentAddressableStorage.GetTree, l.423-426",
)
async def a_broken_stream_leads_on(target: Target) -> None:
    tree = wide_tree(target.function, 10)
    request = target.named(reapi.GetTreeRequest(root_digest=await put_tree(target, tree)))
    request.page_size = 3
    async with aclosing(target.stream(methods.GET_TREE, request)) as pages:
        first = await anext(pages)
    if not first.next_page_token:
        raise NotApplicable("the server gives the tree in one page, and no token")
    rest = await target.pages(request.root_digest, page_size=3, token=first.next_page_token)
    _expect_whole(tree, [first, *rest])


@check(
    MUST,
    "GetTree: the last page has no token.",
    source="GetTreeResponse.next_page_token, l.1961-1965",
)
async def the_last_page_has_no_token(target: Target) -> None:
    pages = await target.pages(await put_tree(target, small_tree(target.function)))
    expect(pages, "there is not even one page")
    expect(not pages[-1].next_page_token, "the last page has a token")


@check(
    MUST,
    "GetTree gives large trees, page by page where need be.",
    source="ContentAddressableStorage.GetTree, l.420-426",
)
async def large_trees_are_told(target: Target) -> None:
    tree = wide_tree(target.function, 1500)
    _expect_whole(tree, await target.pages(await put_tree(target, tree)))


@check(
    SHOULD,
    "GetTree infers the digest function from the hash's length if it is not named.",
    source="GetTreeRequest.digest_function, l.1944-1952",
)
async def trees_need_no_named_function(target: Target) -> None:
    if not target.function.inferred:
        raise NotApplicable(f"{target.function.name} has to be named")
    tree = small_tree(target.function)
    root = await put_tree(target, tree)
    request = reapi.GetTreeRequest(instance_name=target.instance, root_digest=root)
    _expect_whole(tree, await target.collect(methods.GET_TREE, request))


@check(
    ROBUSTNESS,
    "GetTree refuses a root that is no Directory, and says so.",
    source="GetTreeRequest.root_digest, l.1926-1930",
)
async def a_root_that_is_no_directory_is_refused(target: Target) -> None:
    root = await target.put_one(b"\xff" * 50)
    with refused(*BAD_INPUT):
        await target.pages(root)


@check(
    ROBUSTNESS,
    "GetTree refuses a token that it never gave, or takes no notice of it.",
    source="GetTreeRequest.page_token, l.1938-1942",
)
async def an_invented_token_is_refused(target: Target) -> None:
    tree = small_tree(target.function)
    request = target.named(reapi.GetTreeRequest(root_digest=await put_tree(target, tree)))
    request.page_token = "no such token"  # noqa: S105
    try:
        pages = await target.collect(methods.GET_TREE, request)
    except Refused as error:
        expect(error.code in BAD_INPUT, f"{error.code.name} was answered")
        return
    expect(set(_directories(pages)) <= set(tree.encoded()), "directories of elsewhere are told")
