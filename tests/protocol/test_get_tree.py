from __future__ import annotations

from collections.abc import Sequence

import grpc
import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import Entry, chain, input_root
from tests.protocol.blobs import SHA1, unique
from tests.protocol.peer import CALL_SECONDS, Peer, refused


def get_tree(
    peer: Peer, root: reapi.Digest, *, page_size: int = 0, page_token: str = ""
) -> list[reapi.GetTreeResponse]:
    request = reapi.GetTreeRequest(
        instance_name=peer.instance,
        root_digest=root,
        page_size=page_size,
        page_token=page_token,
        digest_function=peer.function,
    )
    return list(peer.cas.GetTree(request, timeout=CALL_SECONDS))


def encoded(directory: reapi.Directory) -> bytes:
    return directory.SerializeToString(deterministic=True)


def directories(pages: Sequence[reapi.GetTreeResponse]) -> list[bytes]:
    return [encoded(directory) for page in pages for directory in page.directories]


def reachable(peer: Peer, root: reapi.Digest) -> set[bytes]:
    """Walk the tree blob by blob, as a client without GetTree does."""
    found: set[bytes] = set()
    level = [root]
    while level:
        blobs = {peer.read(digest) for digest in level} - found
        found |= blobs
        level = [
            node.digest for blob in blobs for node in reapi.Directory.FromString(blob).directories
        ]
    return found


def a_tree(peer: Peer) -> reapi.Digest:
    entries: dict[str, Entry] = {f"d{n}/e{n % 7}/f": unique(10) for n in range(50)}
    return input_root(peer, {**entries, "same/x": None, "again/x": None})


def test_a_tree_is_returned_whole_and_each_directory_once(each: Peer) -> None:
    root = a_tree(each)
    found = directories(get_tree(each, root))
    assert len(found) == len(set(found))
    assert set(found) == reachable(each, root)


def test_the_root_comes_first(peer: Peer) -> None:
    root = a_tree(peer)
    assert peer.digest(directories(get_tree(peer, root))[0]) == root


def test_the_empty_directory_is_a_tree(each: Peer) -> None:
    # REAPI rule: empty blobs are always available, and the empty Directory is one.
    assert directories(get_tree(each, each.digest(b""))) == [b""]


@pytest.mark.parametrize("page_size", [1, 7, 1000])
def test_a_page_holds_no_more_than_was_asked(peer: Peer, page_size: int) -> None:
    # REAPI rule: page_size is a maximum; the server may send fewer.
    root = a_tree(peer)
    pages = get_tree(peer, root, page_size=page_size)
    assert max(len(page.directories) for page in pages) <= page_size
    found = directories(collected(peer, root, page_size=page_size))
    assert len(found) == len(set(found))
    assert set(found) == reachable(peer, root)


def collected(peer: Peer, root: reapi.Digest, *, page_size: int) -> list[reapi.GetTreeResponse]:
    """Ask until the last page has no token: a stream may hold all the pages or just some."""
    pages = get_tree(peer, root, page_size=page_size)
    while pages[-1].next_page_token:
        pages += get_tree(peer, root, page_size=page_size, page_token=pages[-1].next_page_token)
    return pages


def test_the_last_page_has_no_token(peer: Peer) -> None:
    pages = collected(peer, a_tree(peer), page_size=10)
    assert pages[-1].next_page_token == ""


def test_every_token_goes_on_where_its_page_ended(each: Peer) -> None:
    # REAPI rule: a broken stream is taken up with the token of the last page that arrived.
    root = a_tree(each)
    pages = collected(each, root, page_size=9)
    everything = directories(pages)
    seen = 0
    for page in pages:
        seen += len(page.directories)
        if page.next_page_token:
            rest = directories(collected_from(each, root, page.next_page_token))
            assert everything[:seen] + rest == everything


def collected_from(peer: Peer, root: reapi.Digest, page_token: str) -> list[reapi.GetTreeResponse]:
    pages = get_tree(peer, root, page_size=9, page_token=page_token)
    while pages[-1].next_page_token:
        pages += get_tree(peer, root, page_size=9, page_token=pages[-1].next_page_token)
    return pages


@pytest.mark.parametrize("page_token", ["x", "\0", "AAAA", "9" * 10_000, "-1", "é", "0"])
def test_a_token_that_nobody_gave_out_is_refused(peer: Peer, page_token: str) -> None:
    root = a_tree(peer)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="page_token"):
        get_tree(peer, root, page_token=page_token)
    assert get_tree(peer, root)


def test_a_token_of_another_tree_is_refused(peer: Peer) -> None:
    page = get_tree(peer, a_tree(peer), page_size=5)[0]
    assert page.next_page_token
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="page_token"):
        get_tree(peer, a_tree(peer), page_token=page.next_page_token)


@pytest.mark.parametrize("page_size", [-1, -(1 << 31)])
def test_a_negative_page_size_is_refused(peer: Peer, page_size: int) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="page_size"):
        get_tree(peer, a_tree(peer), page_size=page_size)


def test_a_huge_page_size_is_only_a_maximum(peer: Peer) -> None:
    root = a_tree(peer)
    pages = get_tree(peer, root, page_size=(1 << 31) - 1)
    assert set(directories(pages)) == reachable(peer, root)


def test_a_missing_root_is_not_found(each: Peer) -> None:
    # REAPI rule: NOT_FOUND is for the root alone.
    absent = each.digest(unique())
    with refused(grpc.StatusCode.NOT_FOUND, naming=absent.hash):
        get_tree(each, absent)


def test_missing_parts_are_left_out(each: Peer) -> None:
    # REAPI rule: what is not there is omitted, and the rest is returned.
    present = input_root(each, {"x/y/f": unique()})
    root = reapi.Directory()
    root.directories.add(name="absent", digest=each.digest(unique()))
    root.directories.add(name="present", digest=present)
    digest = each.put_one(encoded(root))
    assert set(directories(get_tree(each, digest))) == {encoded(root)} | reachable(each, present)


def test_a_tree_of_more_bytes_than_a_message_is_streamed(peer: Peer) -> None:
    # REAPI rule: the reply is a stream, since a tree does not fit into one message of 4 MiB.
    shared = unique(4)
    digest = peer.put_one(shared)
    blobs = []
    root = reapi.Directory()
    for number in range(30):
        directory = reapi.Directory()
        for name in range(2000):
            directory.files.add(name=f"{number:03}-{name:05}" + "n" * 40, digest=digest)
        blobs.append(encoded(directory))
        root.directories.add(name=f"{number:03}", digest=peer.digest(blobs[-1]))
    for blob in blobs:
        peer.put(blob)
    pages = get_tree(peer, peer.put_one(encoded(root)))
    assert max(page.ByteSize() for page in pages) < 4 << 20
    assert set(directories(pages)) == {*blobs, encoded(root)}


def test_directories_that_are_shared_come_once_however_many_paths_lead_there(each: Peer) -> None:
    # Forty levels, each with the next one in it twice, are 2^40 paths and forty directories.
    root = chain(each, 41, width=2)
    found = directories(get_tree(each, root))
    assert len(found) == 41
    assert set(found) == reachable(each, root)


def test_a_tree_that_is_too_deep_is_refused_and_a_deep_one_is_not(peer: Peer) -> None:
    assert len(directories(get_tree(peer, chain(peer, 200)))) == 200
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="deep"):
        get_tree(peer, chain(peer, 500))
    assert get_tree(peer, peer.digest(b""))


def test_what_is_no_directory_is_refused(each: Peer) -> None:
    garbage = each.put_one(b"\xff\xfe this is no Directory" + unique())
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=garbage.hash):
        get_tree(each, garbage)


@pytest.mark.parametrize("hash", ["", "x", "../../etc/passwd", "0" * 63, "A" * 64])
def test_a_malformed_root_is_refused(peer: Peer, hash: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest"):
        get_tree(peer, reapi.Digest(hash=hash, size_bytes=1))


def test_a_request_without_a_root_is_refused(peer: Peer) -> None:
    request = reapi.GetTreeRequest(instance_name="")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="root_digest"):
        list(peer.cas.GetTree(request, timeout=CALL_SECONDS))


def test_the_function_of_the_root_holds_for_the_whole_tree(peer: Peer) -> None:
    # REAPI rule: one digest function throughout.
    there = peer.using(SHA1)
    root = a_tree(there)
    request = reapi.GetTreeRequest(root_digest=root)  # without a function: told by length
    pages = list(peer.cas.GetTree(request, timeout=CALL_SECONDS))
    assert set(directories(pages)) == reachable(there, root)
