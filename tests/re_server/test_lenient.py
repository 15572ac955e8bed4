"""Uploads that leave out what the protocol demands, where an instance takes them."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from protos import bytestream_pb2
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer, connected, refused
from tests.serving import serving

SETTINGS = """
[instances.lenient]
lenient = true
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
