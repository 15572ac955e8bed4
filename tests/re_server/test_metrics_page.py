"""/metrics, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import command, put_action, put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, connected, refused
from tests.serving import Served, serving

# What dashboards and alerts are built on: type and labels by name.
PROMISED = {
    "holdfast_calls": ("counter", {"method", "code"}),
    "holdfast_call_seconds": ("histogram", {"method", "le"}),
    "holdfast_store_bytes": ("gauge", set()),
    "holdfast_store_plain_bytes": ("gauge", set()),
    "holdfast_store_packed_blobs": ("gauge", set()),
    "holdfast_store_blobs": ("gauge", set()),
    "holdfast_store_max_bytes": ("gauge", set()),
    "holdfast_store_evicted_blobs": ("counter", set()),
    "holdfast_store_evicted_bytes": ("counter", set()),
    "holdfast_store_quarantined_blobs": ("counter", set()),
    "holdfast_store_refused_writes": ("counter", set()),
    "holdfast_open_writes": ("gauge", set()),
    "holdfast_calls_in_flight": ("gauge", set()),
    "holdfast_bytes_in_flight": ("gauge", set()),
    "holdfast_assets": ("gauge", set()),
    "holdfast_asset_fetches": ("gauge", set()),
    "holdfast_logs": ("gauge", set()),
    "holdfast_log_bytes": ("gauge", set()),
    "holdfast_action_cache_lookups": ("counter", {"outcome"}),
    "holdfast_results": ("counter", {"verdict"}),
    "holdfast_pins": ("gauge", set()),
    "holdfast_executions": ("counter", {"outcome"}),
    "holdfast_queue_wait_seconds": ("histogram", {"platform", "le"}),
    "holdfast_queue_depth": ("gauge", {"platform"}),
    "holdfast_executing": ("gauge", set()),
    "holdfast_workers": ("gauge", set()),
    "holdfast_worker_slots": ("gauge", set()),
    "holdfast_observations": ("counter", {"source"}),
    "holdfast_suspect_results": ("counter", {"kind"}),
    "holdfast_toolchain_mismatches": ("counter", set()),
    "holdfast_saved_actions": ("counter", set()),
    "holdfast_saved_seconds": ("counter", set()),
    "holdfast_ledger_dropped": ("counter", set()),
    "holdfast_audited_actions": ("counter", set()),
    "holdfast_audit_coverage_ratio": ("gauge", set()),
    "holdfast_proposals": ("gauge", set()),
    "holdfast_proposed_results": ("counter", {"standing"}),
    "holdfast_ruled_proposals": ("counter", {"ruling"}),
    "holdfast_expired_proposals": ("counter", set()),
    "holdfast_verified_proposals": ("counter", set()),
    "holdfast_proposal_hits": ("counter", set()),
    "process_resident_memory_bytes": ("gauge", set()),
    "process_cpu_seconds": ("counter", set()),
}
# These have no sample until something happens; tests/deploy makes it happen.
LATER = {
    "holdfast_nondeterministic_results",
    "holdfast_canonicalised_files",
    "holdfast_canonicalised_bytes",
    "holdfast_asset_answers",
    "holdfast_http_requests",
    "holdfast_refusals",
}
SETTINGS = """
store.compression = "zstd"
worker.slots = 2
execution.no_worker_seconds = 1000
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), SETTINGS) as server:
        yield server


@pytest.fixture
def peer(served: Served) -> Iterator[Peer]:
    with connected(served.grpc) as made:
        yield made


def page(server: Served) -> dict[str, Metric]:
    """Return what /metrics says, by name."""
    with urlopen(f"http://{server.web}/metrics", timeout=CALL_SECONDS) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        text = response.read().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(server: Served, name: str, **labels: str) -> float:
    """Return one sample; 0 where there is none yet."""
    return sum(
        sample.value
        for family in page(server).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_every_promised_name_is_there_with_its_type_and_labels(served: Served, peer: Peer) -> None:
    peer.execute(put_script(peer, "true"))
    waiting = put_action(peer, command("true", platform={"pool": "none"}))
    call = peer.execution.Execute(peer.execute_request(waiting), timeout=CALL_SECONDS)
    next(iter(call))
    found = page(served)
    call.cancel()
    for name, (kind, labels) in PROMISED.items():
        assert found[name].type == kind, name
        seen = {label for sample in found[name].samples for label in sample.labels}
        assert seen == labels, name
        assert found[name].documentation, name
    ours = {name for name in found if name.startswith("holdfast_")}
    created = {name for name in ours if name.endswith("_created")}
    assert ours - created <= PROMISED.keys() | LATER


def test_calls_are_counted_by_method_and_code(served: Served, peer: Peer) -> None:
    method = "ActionCache/GetActionResult"
    before = value(served, "holdfast_calls_total", method=method, code="NOT_FOUND")
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(peer.digest(unique()))
    assert value(served, "holdfast_calls_total", method=method, code="NOT_FOUND") == before + 1
    assert value(served, "holdfast_call_seconds_count", method=method) >= before + 1


def test_the_store_counts_what_it_holds(served: Served, peer: Peer) -> None:
    blobs = value(served, "holdfast_store_blobs")
    held = value(served, "holdfast_store_bytes")
    peer.put(unique(1000), unique(20_000))
    assert value(served, "holdfast_store_blobs") == blobs + 2
    assert value(served, "holdfast_store_bytes") == held + 21_000
    assert value(served, "holdfast_store_max_bytes") == 50 << 30


def test_the_store_counts_what_compression_saves(served: Served, peer: Peer) -> None:
    names = [f"holdfast_store_{what}" for what in ("packed_blobs", "bytes", "plain_bytes")]
    before = [value(served, name) for name in names]
    peer.put(unique(10_000).hex().encode())
    packed, held, plain = (
        value(served, name) - then for name, then in zip(names, before, strict=True)
    )
    assert (packed, plain) == (1, 20_000)
    assert 10_000 < held < 12_000


def test_look_ups_results_and_pins_are_counted_by_what_came_of_them(
    served: Served, peer: Peer
) -> None:
    def counted() -> list[float]:
        return [
            value(served, "holdfast_action_cache_lookups_total", outcome="hit"),
            value(served, "holdfast_action_cache_lookups_total", outcome="miss"),
            value(served, "holdfast_results_total", verdict="first"),
            value(served, "holdfast_results_total", verdict="conflict"),
            value(served, "holdfast_results_total", verdict="agreed"),
            value(served, "holdfast_pins"),
        ]

    action = put_script(peer, "true")
    before = counted()
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(action)
    for data in (first := unique(), unique(), first):
        result = reapi.ActionResult()
        result.output_files.add(path="out", digest=peer.put_one(data))
        peer.update_result(action, result)
    peer.get_result(action)
    peer.get_result(action)
    grown = [after - was for after, was in zip(counted(), before, strict=True)]
    assert grown == [2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("script", "outcome"), [("true", "success"), ("exit 3", "failure")], ids=str
)
def test_executions_are_counted_by_outcome(
    served: Served, peer: Peer, script: str, outcome: str
) -> None:
    before = value(served, "holdfast_executions_total", outcome=outcome)
    peer.execute(put_script(peer, script))
    assert value(served, "holdfast_executions_total", outcome=outcome) == before + 1


def test_a_time_out_is_counted_under_its_code(served: Served, peer: Peer) -> None:
    before = value(served, "holdfast_executions_total", outcome="deadline_exceeded")
    peer.execute(put_action(peer, command("sleep 100"), timeout_seconds=0.1))
    after = value(served, "holdfast_executions_total", outcome="deadline_exceeded")
    assert after == before + 1


def test_the_queue_is_told_by_platform_and_clients_cannot_make_labels_without_end(
    served: Served, peer: Peer
) -> None:
    actions = [
        put_action(peer, command("true", platform={"pool": f"p{number}"})) for number in range(60)
    ]
    calls = [
        peer.execution.Execute(peer.execute_request(action), timeout=CALL_SECONDS)
        for action in actions
    ]
    for call in calls:
        next(iter(call))
    depths = page(served)["holdfast_queue_depth"].samples
    for call in calls:
        call.cancel()
    assert sum(sample.value for sample in depths) >= 60
    assert len(depths) <= 51
    told = {sample.labels["platform"]: sample.value for sample in depths}
    assert told["other"] >= 10
    assert told["pool=p0"] == 1


def test_the_worker_inside_is_counted(served: Served) -> None:
    assert value(served, "holdfast_workers") == 1
    assert value(served, "holdfast_worker_slots") == 2


def test_a_cache_alone_has_no_queue(tmp_path: Path) -> None:
    with serving(tmp_path, "execution.enabled = false") as server:
        found = page(server)
    assert "holdfast_store_bytes" in found
    assert "holdfast_queue_depth" not in found
    assert "holdfast_workers" not in found
