"""bazel-remote, with our server as the backend of its gRPC proxy."""

from __future__ import annotations

from pathlib import Path

from tests.protocol.blobs import unique
from tests.protocol.peer import Peer
from tests.proxies.proxies import bazel_remote, put_large
from tests.proxies.waiting import until
from tests.serving import Served

LARGE = 5 << 20  # over what goes into a batch


def test_blobs_go_through_to_the_server(tmp_path: Path, behind: Served, ours: Peer) -> None:
    small, large = unique(), unique(LARGE)
    with bazel_remote(tmp_path, behind.grpc) as proxy:
        digests = [proxy.grpc.put_one(small), put_large(proxy.grpc, large)]
        until(lambda: ours.find_missing(*digests) == [])  # it uploads when it likes
    assert [ours.read(digest) for digest in digests] == [small, large]


def test_blobs_of_the_server_are_read_through_it(
    tmp_path: Path, behind: Served, ours: Peer
) -> None:
    small, large = unique(), unique(LARGE)
    digests = [ours.put_one(small), put_large(ours, large)]
    with bazel_remote(tmp_path, behind.grpc) as proxy:
        assert proxy.grpc.find_missing(*digests) == []
        assert [proxy.grpc.read(digest) for digest in digests] == [small, large]
