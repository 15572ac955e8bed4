"""bazel-remote, with our server as the backend of its gRPC proxy."""

from __future__ import annotations

from pathlib import Path
from urllib.request import Request, urlopen

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, Refusal, attempt
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


def test_results_and_blobs_pass_over_its_http_cache(
    tmp_path: Path, behind: Served, ours: Peer
) -> None:
    blob, action = unique(), put_script(ours, "true")
    result = reapi.ActionResult(stdout_digest=ours.digest(blob), stderr_raw=b"said")
    with bazel_remote(tmp_path / "one", behind.grpc) as proxy:
        put(f"http://{proxy.http}/cas/{ours.digest(blob).hash}", blob)
        put(f"http://{proxy.http}/ac/{action.hash}", result.SerializeToString())
        until(lambda: not isinstance(attempt(lambda: ours.get_result(action)), Refusal))
    with bazel_remote(tmp_path / "other", behind.grpc) as proxy:
        found = reapi.ActionResult.FromString(got(f"http://{proxy.http}/ac/{action.hash}"))
        assert (found.stdout_digest, found.stderr_raw) == (result.stdout_digest, b"said")
        assert got(f"http://{proxy.http}/cas/{found.stdout_digest.hash}") == blob


def put(url: str, body: bytes) -> None:
    with urlopen(Request(url, body, method="PUT"), timeout=CALL_SECONDS):
        pass


def got(url: str) -> bytes:
    with urlopen(url, timeout=CALL_SECONDS) as answer:
        body: bytes = answer.read()
        return body
