"""What clients send against the protocol, where an instance takes it, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.rpc.code_pb2 import Code

from protos import bytestream_pb2, remote_execution_pb2 as reapi
from tests.assets.asking import assets_of, sri
from tests.protocol.actions import put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, connected, refused
from tests.protocol.results import a_result
from tests.serving import serving

SETTINGS = """
[instances.lenient]
lenient = true
[instances.without]
lenient = true
update_requires_action = false
[instances.usual]
"""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with (
        serving(tmp_path_factory.mktemp("lenient"), SETTINGS) as served,
        connected(served.grpc) as made,
    ):
        yield made.at("lenient")


def bare_requests(name: str, *pieces: bytes) -> list[bytestream_pb2.WriteRequest]:
    """Cut an upload as bazel-remote's proxy does: the name in the first message, data alone."""
    requests = [bytestream_pb2.WriteRequest(data=piece) for piece in pieces]
    requests[0].resource_name = name
    return requests


def test_offsets_and_the_end_may_be_left_out(peer: Peer) -> None:
    pieces = [unique(), unique(), unique()]
    digest = peer.digest(b"".join(pieces))
    assert peer.send(bare_requests(peer.write_name(digest), *pieces)) == digest.size_bytes
    assert peer.read(digest) == b"".join(pieces)


def test_what_is_not_the_blob_is_refused_all_the_same(peer: Peer) -> None:
    right, wrong = unique(), unique()
    digest = peer.digest(right)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="not"):
        peer.send(bare_requests(peer.write_name(digest), wrong))
    assert not peer.has(digest)


def test_a_part_of_the_blob_stays_an_open_upload(peer: Peer) -> None:
    data = unique()
    name = peer.write_name(peer.digest(data))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="finish_write"):
        peer.send(bare_requests(name, data[:50]))
    assert peer.write_status(name).committed_size == 50


def test_an_offset_that_is_there_has_to_be_right(peer: Peer) -> None:
    data = unique()
    requests = bare_requests(peer.write_name(peer.digest(data)), data[:50], data[50:])
    requests[1].write_offset = 49
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_offset"):
        peer.send(requests)


def test_other_instances_hold_to_the_protocol(peer: Peer) -> None:
    usual = peer.at("usual")
    pieces = [unique(), unique()]
    name = usual.write_name(usual.digest(b"".join(pieces)))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_offset"):
        usual.send(bare_requests(name, *pieces))


def sized(digest: reapi.Digest, size: int) -> reapi.Digest:
    return reapi.Digest(hash=digest.hash, size_bytes=size)


def test_a_result_is_found_by_the_hash_of_its_action_alone(peer: Peer) -> None:
    action, result = put_script(peer, "true"), a_result(peer)
    kept = peer.update_result(sized(action, 123_456), result)
    for size in (action.size_bytes, -1, 7):
        assert peer.get_result(sized(action, size)) == kept
    # The wrong size made no second entry: the first result is still the pinned one.
    assert peer.update_result(sized(action, 99), a_result(peer)) == kept


def test_what_is_remembered_of_an_answer_is_forgotten_with_its_entry(peer: Peer) -> None:
    without = peer.at("without")
    action = sized(peer.digest(unique()), 40)
    for _ in range(2):
        kept = without.update_result(action, a_result(without))
        assert without.get_result(sized(action, -1)) == kept


def test_a_result_waits_for_the_blobs_that_it_overtook(peer: Peer) -> None:
    action, said = put_script(peer, "true"), unique()
    request = reapi.UpdateActionResultRequest(
        instance_name=peer.instance,
        action_digest=action,
        action_result=reapi.ActionResult(stdout_digest=peer.digest(said)),
    )
    update = peer.action_cache.UpdateActionResult.future(request, timeout=CALL_SECONDS)
    peer.put_one(said)
    assert update.result().stdout_digest == peer.get_result(action).stdout_digest


def test_results_without_actions_have_one_entry_for_a_hash(peer: Peer) -> None:
    without = peer.at("without")
    action = peer.digest(unique())
    without.update_result(sized(action, 9_000), a_result(without))
    last = without.update_result(sized(action, 70), a_result(without))
    assert without.get_result(action) == last


def test_a_hash_without_a_result_is_a_miss(peer: Peer) -> None:
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(sized(put_script(peer, "true"), -1))
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(sized(peer.digest(unique()), -1))


def test_a_blob_of_the_store_is_found_by_its_checksum_alone(peer: Peer) -> None:
    fetching, data = assets_of(peer), unique()
    having = {"checksum.sri": sri(data)}
    absent = fetching.blob(instance=peer.instance, having=having)
    assert (absent.status.code, absent.status.message) == (
        Code.NOT_FOUND,
        "no blob with this checksum is in the store",
    )
    digest = peer.put_one(data)
    assert fetching.blob(instance=peer.instance, having=having).blob_digest == digest


def test_without_uris_and_checksum_nothing_is_fetched(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="uris"):
        assets_of(peer).blob(instance=peer.instance)


def test_sizes_and_uris_are_demanded_elsewhere(peer: Peer) -> None:
    usual = peer.at("usual")
    data = unique()
    action, result = put_script(usual, "true"), a_result(usual)
    usual.put_one(data)
    usual.update_result(action, result)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="action_digest"):
        usual.get_result(sized(action, -1))
    with refused(grpc.StatusCode.NOT_FOUND):
        usual.get_result(sized(action, 7))
    with refused(grpc.StatusCode.FAILED_PRECONDITION):
        usual.update_result(sized(action, 7), result)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="uris"):
        assets_of(usual).blob(instance="usual", having={"checksum.sri": sri(data)})
