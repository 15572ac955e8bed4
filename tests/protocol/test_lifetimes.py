"""What a client was told is there stays there, and what is gone is a miss everywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import code_pb2

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import input_root, put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import (
    CALL_SECONDS,
    Peer,
    Refusal,
    attempt,
    connected,
    refused,
    retry_seconds,
)
from tests.protocol.results import a_result
from tests.serving import serving

BUDGET_BYTES = 8_000_000
FILLER_BYTES = 400_000
SMALL_STORE = f"""
server.drain_seconds = 2
store.max_bytes = {BUDGET_BYTES}
store.upload_lease_seconds = 0.2
worker.enabled = false
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Peer]:
    """A store that holds what it told of for long."""
    with serving(tmp_path, SMALL_STORE) as server, connected(server.grpc) as peer:
        yield peer


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[Peer]:
    """A store that holds what it told of for half a second."""
    settings = SMALL_STORE + "store.lease_seconds = 0.5\n"
    with serving(tmp_path, settings) as server, connected(server.grpc) as peer:
        yield peer


def fill(peer: Peer, *, times: int = 4) -> None:
    """Upload `times` as much as the store holds, waiting whenever it asks for that."""
    for _ in range(times * BUDGET_BYTES // FILLER_BYTES):
        upload(peer, unique(FILLER_BYTES))


def upload(peer: Peer, data: bytes) -> None:
    deadline = time.monotonic() + CALL_SECONDS
    while isinstance(
        answer := attempt(lambda: peer.write(peer.write_name(peer.digest(data)), data)), Refusal
    ):
        assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED, answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.3)


def push_out(peer: Peer, digest: reapi.Digest) -> None:
    """Upload until the blob is evicted.

    Looking is a use, which makes it the last one to go; so what is uploaded between two looks is
    more than the store holds, and a while lies before it.
    """
    deadline = time.monotonic() + CALL_SECONDS
    while peer.batch_read(digest)[0].status.code != code_pb2.NOT_FOUND:
        assert time.monotonic() < deadline, "the blob was never evicted"
        time.sleep(2)
        fill(peer, times=2)


def test_blobs_that_were_told_to_be_there_stay(small: Peer) -> None:
    # REAPI rule: FindMissingBlobs extends lifetimes. Buck2 does not ask again for three hours.
    told = [small.put_one(unique(1000)) for _ in range(5)]
    told.append(small.put_one(unique(FILLER_BYTES)))
    assert small.find_missing(*told) == []
    fill(small)
    for digest in told:
        assert len(small.read(digest)) == digest.size_bytes


def test_what_a_hit_refers_to_stays(small: Peer) -> None:
    # REAPI rule: GetActionResult extends the lifetimes of all that the result refers to, files of
    # Trees included.
    action, result = put_script(small, "true"), a_result(small)
    small.update_result(action, result)
    small.get_result(action)
    fill(small)
    assert small.get_result(action).output_files == result.output_files
    tree = reapi.Tree.FromString(small.read(result.output_directories[0].tree_digest))
    for directory in (tree.root, *tree.children):
        for node in directory.files:
            assert small.read(node.digest)
    assert small.read(result.output_files[0].digest)
    assert small.read(result.stdout_digest)


def test_a_store_that_is_full_of_leased_blobs_asks_to_come_back(small: Peer) -> None:
    # REAPI rules: no room is RESOURCE_EXHAUSTED, with RetryInfo; what is there is not harmed.
    kept = []
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED) as caught:
        for _ in range(2 * BUDGET_BYTES // FILLER_BYTES):
            data = unique(FILLER_BYTES)
            digest = small.digest(data)
            small.write(small.write_name(digest), data)
            assert small.has(digest)
            kept.append(digest)
    assert retry_seconds(caught.value) > 0
    assert len(kept) > BUDGET_BYTES // FILLER_BYTES // 2
    assert small.find_missing(*kept) == []
    data = unique(FILLER_BYTES)
    request = reapi.BatchUpdateBlobsRequest()
    request.requests.add(digest=small.digest(data), data=data)
    (entry,) = small.cas.BatchUpdateBlobs(request, timeout=CALL_SECONDS).responses
    assert entry.status.code == code_pb2.RESOURCE_EXHAUSTED


PARTS = ("output file", "tree", "file of the tree", "stdout")


@pytest.mark.parametrize("part", PARTS)
def test_a_result_of_which_a_part_was_evicted_is_a_miss(forgetful: Peer, part: str) -> None:
    # REAPI rule: a hit only where everything that it refers to is there.
    action, result = put_script(forgetful, "true"), a_result(forgetful)
    forgetful.update_result(action, result)
    tree_digest = result.output_directories[0].tree_digest
    tree = reapi.Tree.FromString(forgetful.read(tree_digest))
    gone = {
        "output file": result.output_files[0].digest,
        "tree": tree_digest,
        "file of the tree": tree.children[0].files[0].digest,
        "stdout": result.stdout_digest,
    }[part]
    push_out(forgetful, gone)
    with refused(grpc.StatusCode.NOT_FOUND):
        forgetful.get_result(action)
    assert forgetful.find_missing(gone) == [gone]


def test_evicted_blobs_can_be_uploaded_again(forgetful: Peer) -> None:
    data = unique(FILLER_BYTES)
    digest = forgetful.put_one(data)
    push_out(forgetful, digest)
    upload(forgetful, data)
    assert forgetful.read(digest) == data


def test_a_tree_with_evicted_parts_is_returned_without_them(forgetful: Peer) -> None:
    root = input_root(forgetful, {"d/f": unique(FILLER_BYTES), "e": None})
    push_out(forgetful, root)
    request = reapi.GetTreeRequest(root_digest=root)
    with refused(grpc.StatusCode.NOT_FOUND):
        list(forgetful.cas.GetTree(request, timeout=CALL_SECONDS))
