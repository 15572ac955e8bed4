"""bazel-remote, with our server as the backend of its gRPC proxy."""

from __future__ import annotations

from pathlib import Path

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer, Refusal, attempt
from tests.proxies.proxies import bazel_remote, put_large
from tests.proxies.waiting import until
from tests.serving import Served

LARGE = 5 << 20  # over what goes into a batch


def test_blobs_go_through_to_the_server(tmp_path: Path, behind: Served, ours: Peer) -> None:
    small, large = unique(), unique(LARGE)
    with bazel_remote(tmp_path, behind.grpc) as proxy:
        digests = [proxy.peer.put_one(small), put_large(proxy.peer, large)]
        until(lambda: ours.find_missing(*digests) == [])  # it uploads when it likes
    assert [ours.read(digest) for digest in digests] == [small, large]


def test_blobs_of_the_server_are_read_through_it(
    tmp_path: Path, behind: Served, ours: Peer
) -> None:
    small, large = unique(), unique(LARGE)
    digests = [ours.put_one(small), put_large(ours, large)]
    with bazel_remote(tmp_path, behind.grpc) as proxy:
        assert proxy.peer.find_missing(*digests) == []
        assert [proxy.peer.read(digest) for digest in digests] == [small, large]


def test_results_go_both_ways(tmp_path: Path, behind: Served, ours: Peer) -> None:
    with bazel_remote(tmp_path / "one", behind.grpc) as proxy:
        digest = put_script(proxy.peer, "true")
        said = proxy.peer.put_one(unique())
        proxy.peer.update_result(digest, reapi.ActionResult(stdout_digest=said))
        until(lambda: not isinstance(attempt(lambda: ours.get_result(digest)), Refusal))
    with bazel_remote(tmp_path / "other", behind.grpc) as proxy:
        assert proxy.peer.get_result(digest).stdout_digest == said
