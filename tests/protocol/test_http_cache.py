"""Bazel's HTTP cache protocol, beside gRPC to the same server."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest
import zstandard

from cas.digest import Digest
from protos import remote_execution_pb2 as reapi
from tests.cas.disks import file_of, flip
from tests.protocol.actions import command, put_action
from tests.protocol.blobs import SHA1, digest_of, unique
from tests.protocol.peer import CALL_SECONDS, Peer
from tests.protocol.results import a_result, encoded
from tests.serving import Served, serving


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Web:
    """A connection that is kept: an answer that is not read to its end breaks the next."""

    connection: http.client.HTTPConnection

    def __call__(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, **headers: str
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body=body, headers=named)
        response = self.connection.getresponse()
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )


@pytest.fixture
def web(served: Served) -> Iterator[Web]:
    with connected_web(served) as made:
        yield made


@contextmanager
def connected_web(served: Served) -> Iterator[Web]:
    with closing(http.client.HTTPConnection(served.web, timeout=CALL_SECONDS)) as connection:
        yield Web(connection)


def hash_of(data: bytes) -> str:
    return str(digest_of(data).hash)


@pytest.mark.parametrize("size", [0, 100, 20_000, 3_000_000])
def test_a_blob_comes_back_and_is_the_same_over_grpc(web: Web, peer: Peer, size: int) -> None:
    data = unique(size)
    path = f"/cas/{hash_of(data)}"
    if size:
        assert web("GET", path).status == web("HEAD", path).status == 404
    for _ in range(2):
        assert web("PUT", path, data).status == 200
    assert web("GET", path).body == data
    head = web("HEAD", path)
    assert (head.status, head.headers["content-length"], head.body) == (200, str(size), b"")
    assert peer.read(peer.digest(data)) == data


@pytest.mark.parametrize("encoding", ["identity", "zstd"])
def test_a_blob_whose_bytes_have_changed_is_cut_short_and_then_gone(
    served: Served, web: Web, encoding: str
) -> None:
    data = unique(3_000_000)
    path = f"/cas/{hash_of(data)}"
    assert web("PUT", path, data).status == 200
    flip(file_of(served.log.parent / "store", Digest.of(data)), 2_500_000)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        web("GET", path, Accept_Encoding=encoding)
    web.connection.close()
    assert web("GET", path).status == 404


def test_instances_stand_before_the_kind_and_choose_the_function(web: Web, peer: Peer) -> None:
    data = unique()
    hash = peer.using(SHA1).digest(data).hash
    assert web("PUT", f"/sha1/cas/{hash}", data).status == 200
    assert web("GET", f"/a/b/cas/{hash}").body == data
    assert web("GET", f"/nowhere/cas/{hash}").status == 404
    assert web("GET", f"/blobs/cas/{hash}").status == 400


def test_bytes_that_are_not_of_the_hash_are_refused(web: Web) -> None:
    for size in (100, 100_000):
        data, hash = unique(size), hash_of(unique())
        answer = web("PUT", f"/cas/{hash}", data)
        assert (answer.status, hash in answer.body.decode()) == (400, True)
        assert web("GET", f"/cas/{hash}").status == 404


@pytest.mark.parametrize("hash", ["a" * 63, "A" * 64, "g" * 64, "..", "%2e%2e", "x/y"])
def test_what_is_no_hash_is_refused(web: Web, hash: str) -> None:
    assert web("GET", f"/cas/{hash}").status in {400, 404}
    assert web("PUT", f"/ac/{hash}", b"").status in {400, 404}


def test_other_methods_and_paths_are_not_served(web: Web) -> None:
    assert web("POST", f"/cas/{'a' * 64}", b"x").status == 405
    assert web("DELETE", f"/ac/{'a' * 64}").headers["allow"] == "GET,HEAD,PUT"
    assert web("GET", "/cas/").status == web("GET", "/other/page").status == 404


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_blobs_travel_as_one_zstd_frame_where_that_is_wanted(web: Web, size: int) -> None:
    data = unique(size) + b"compressible " * size
    path = f"/cas/{hash_of(data)}"
    assert web("PUT", path, zstandard.compress(data), Content_Encoding="zstd").status == 200
    assert web("GET", path, Accept_Encoding="gzip, zstd;q=0").body == data
    answer = web("GET", path, Accept_Encoding="gzip, zstd")
    assert answer.headers["content-encoding"] == "zstd"
    assert "content-length" not in answer.headers
    assert len(answer.body) < len(data)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(answer.body) == data


def test_a_frame_that_does_not_say_its_size_needs_it_in_a_header(web: Web) -> None:
    data = unique(5000)
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(data)
    path = f"/cas/{hash_of(data)}"
    assert web("PUT", path, silent, Content_Encoding="zstd").status == 411
    said = {"Content-Encoding": "zstd", "X-Digest-SizeBytes": str(len(data))}
    assert web("PUT", path, silent, **said).status == 200
    assert web("GET", path).body == data


def test_a_body_without_a_length_needs_it_in_a_header(web: Web) -> None:
    data = unique(5000)
    path = f"/cas/{hash_of(data)}"
    assert web("PUT", path, iter([data])).status == 411
    assert web("PUT", path, iter([data]), **{"X-Digest-SizeBytes": "5000"}).status == 200
    assert web("GET", path).body == data


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"no frame", {"Content-Encoding": "zstd"}, 400),
        (zstandard.compress(b"x" * 900)[:-4], {"Content-Encoding": "zstd"}, 400),
        (b"x", {"Content-Encoding": "br"}, 415),
        (b"x", {"X-Digest-SizeBytes": "-1"}, 400),
        (b"x", {"X-Digest-SizeBytes": "2"}, 400),
    ],
)
def test_uploads_that_cannot_be_read_are_refused(
    web: Web, body: bytes, headers: dict[str, str], status: int
) -> None:
    data = unique()
    assert web("PUT", f"/cas/{hash_of(data)}", body, **headers).status == status


def test_results_are_shared_with_grpc_both_ways(web: Web, peer: Peer) -> None:
    # The path says no size: it is the Action's own, which Bazel uploads before the result.
    first, second = (put_action(peer, command("true")) for _ in range(2))
    result = a_result(peer)
    assert web("GET", f"/ac/{first.hash}").status == 404
    assert web("PUT", f"/ac/{first.hash}", encoded(result)).status == 200
    stored = peer.get_result(first)
    assert stored.output_files == result.output_files
    assert stored.HasField("execution_metadata")
    peer.update_result(second, result)
    answer = web("GET", f"/ac/{second.hash}")
    assert reapi.ActionResult.FromString(answer.body) == peer.get_result(second)
    head = web("HEAD", f"/ac/{second.hash}")
    assert (head.status, head.headers["content-length"]) == (200, str(len(answer.body)))


def test_the_first_result_holds_over_http_too(web: Web, peer: Peer) -> None:
    action = put_action(peer, command("true"))
    first, second = a_result(peer), a_result(peer)
    for result in (first, second):
        assert web("PUT", f"/ac/{action.hash}", encoded(result)).status == 200
    answer = reapi.ActionResult.FromString(web("GET", f"/ac/{action.hash}").body)
    assert answer.output_files == first.output_files


def test_results_that_are_none_or_not_complete_are_refused(web: Web, peer: Peer) -> None:
    action = put_action(peer, command("true"))
    absent = digest_of(unique())
    hollow = reapi.ActionResult(stdout_digest=absent)
    assert web("PUT", f"/ac/{action.hash}", b"\xff\xff").status == 400
    answer = web("PUT", f"/ac/{action.hash}", encoded(hollow))
    assert (answer.status, absent.hash in answer.body.decode()) == (412, True)
    nameless = web("PUT", f"/ac/{absent.hash}", encoded(reapi.ActionResult()))
    assert (nameless.status, absent.hash in nameless.body.decode()) == (412, True)
    assert web("GET", f"/ac/{action.hash}").status == 404


def test_a_failed_result_is_taken_and_not_kept(web: Web, peer: Peer) -> None:
    action = put_action(peer, command("false"))
    assert web("PUT", f"/ac/{action.hash}", encoded(a_result(peer, exit_code=1))).status == 200
    assert web("GET", f"/ac/{action.hash}").status == 404


def test_requests_are_counted(web: Web) -> None:
    web("GET", f"/cas/{hash_of(unique())}")
    text = web("GET", "/metrics").body.decode()
    assert 'holdfast_http_requests_total{kind="cas",method="GET",status="404"}' in text


def test_a_small_store_says_what_is_too_large_and_what_comes_too_early(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = """
store.max_bytes = 200000
execution.enabled = false
worker.enabled = false
limits.message_blob_bytes = 1000
default.update_requires_action = false
"""
    with (
        serving(tmp_path_factory.mktemp("small"), settings) as served,
        connected_web(served) as web,
    ):
        large, first, second = unique(300_000), unique(150_000), unique(150_000)
        assert web("PUT", f"/cas/{hash_of(large)}", large).status == 413
        assert web("PUT", f"/cas/{hash_of(first)}", first).status == 200
        full = web("PUT", f"/cas/{hash_of(second)}", second)
        assert full.status == 507
        assert int(full.headers["retry-after"]) > 0
        # Results without an Action, as of clients whose hashes are of nothing in the store.
        path = f"/ac/{hash_of(unique())}"
        assert web("PUT", path, encoded(reapi.ActionResult(stdout_raw=b"1"))).status == 200
        assert web("PUT", path, encoded(reapi.ActionResult(stdout_raw=b"2"))).status == 200
        assert reapi.ActionResult.FromString(web("GET", path).body).stdout_raw == b"2"
        assert web("PUT", path, bytes(1001)).status == 413


def test_the_cache_can_be_switched_off(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        serving(tmp_path_factory.mktemp("off"), "server.http_cache = false") as served,
        connected_web(served) as web,
    ):
        assert web("PUT", f"/cas/{hash_of(b'x')}", b"x").status in {404, 405}
        assert web("GET", "/healthz").status == 200
