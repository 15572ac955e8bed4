"""Bazel with its cache over HTTP, and beside it one that speaks gRPC to the same server."""

from __future__ import annotations

from pathlib import Path

from tests.bazel.driver import Bazel, Build
from tests.serving import serving

TARGETS = "//chain/..."  # chained actions, directories, an empty output and one of 6 MB


def passed(build: Build) -> Build:
    assert build.status == 0, build.output
    assert len(build.spawns) > 10
    return build


def test_an_http_cache_serves_a_second_work_space_and_one_over_grpc(
    tmp_path: Path, first: Bazel, second: Bazel
) -> None:
    with serving(tmp_path / "cache", "execution.enabled = false\nworker.enabled = false") as served:
        over_http = f"--remote_cache=http://{served.web}"
        cold = passed(first.build(TARGETS, over_http))
        assert cold.remote_hits == 0
        warm = passed(second.build(TARGETS, over_http))
        first.clean()
        over_grpc = passed(first.build(TARGETS, f"--remote_cache=grpc://{served.grpc}"))
        for build in (warm, over_grpc):
            assert build.executed == []
            assert build.outputs() == cold.outputs()
