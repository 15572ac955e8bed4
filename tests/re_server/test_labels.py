"""Labels that clients choose: there is a bound on how many there are."""

from __future__ import annotations

import pytest
from google.rpc.code_pb2 import DEADLINE_EXCEEDED, UNAVAILABLE
from prometheus_client import CollectorRegistry

from protos import remote_execution_pb2 as reapi
from re_server.metrics import MAX_PLATFORMS, ExecutionMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def platforms(registry: CollectorRegistry) -> dict[str, float]:
    """Return how many waits each platform has."""
    return {
        sample.labels["platform"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "holdfast_queue_wait_seconds_count"
    }


def test_platforms_are_told_apart_up_to_a_bound_and_no_wait_is_lost(
    registry: CollectorRegistry,
) -> None:
    metrics = ExecutionMetrics(registry)
    for _ in range(2):
        for number in range(10 * MAX_PLATFORMS):
            metrics.started((("pool", f"p{number}"),), 0.5)
    told = platforms(registry)
    assert len(told) == MAX_PLATFORMS + 1
    assert told["pool=p0"] == 2
    assert told["other"] == 2 * 9 * MAX_PLATFORMS


def test_a_platform_has_one_name(registry: CollectorRegistry) -> None:
    metrics = ExecutionMetrics(registry)
    required = (("OSFamily", "linux"), ("pool", "big"))
    assert metrics.label(required) == metrics.label(required) == "OSFamily=linux, pool=big"
    assert metrics.label(()) == "no properties"


def test_outcomes_are_success_failure_or_the_code_of_the_status(
    registry: CollectorRegistry,
) -> None:
    metrics = ExecutionMetrics(registry)
    for code, exit_code in [(0, 0), (0, 1), (0, 137), (DEADLINE_EXCEEDED, 0), (UNAVAILABLE, 9)]:
        response = reapi.ExecuteResponse()
        response.status.code = code
        response.result.exit_code = exit_code
        metrics.counted(response)
    counted = {
        sample.labels["outcome"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "holdfast_executions_total"
    }
    assert counted == {"success": 1, "failure": 2, "deadline_exceeded": 1, "unavailable": 1}
