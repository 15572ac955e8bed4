"""Bazel with bazel-remote for its cache, whose backend is a server of ours."""

from __future__ import annotations

from pathlib import Path

from tests.bazel.driver import Bazel, Build
from tests.bazel.scrape import scrape
from tests.proxies.proxies import bazel_remote
from tests.proxies.waiting import until
from tests.serving import serving

SETTINGS = "execution.enabled = false\nworker.enabled = false\ndefault.lenient = true"
# A chain, a tool, an empty output, a directory, and one of 6 MB, which its result overtakes.
TARGETS = [f"//chain:{name}" for name in ("link5", "used", "several", "link", "big")]


def test_what_one_bazel_remote_was_given_another_that_is_empty_has_too(
    tmp_path: Path, first: Bazel, second: Bazel
) -> None:
    with serving(tmp_path / "behind", SETTINGS) as behind:

        def kept() -> float:
            return scrape(behind.web).total(
                "holdfast_calls_total", method="ActionCache/UpdateActionResult", code="OK"
            )

        with bazel_remote(tmp_path / "one", behind.grpc) as proxy:
            cold = first.build(*TARGETS, f"--remote_cache=grpc://{proxy.grpc}")
            assert (cold.status, cold.remote_hits) == (0, 0), cold.output
            until(lambda: kept() == len(cold.spawns))  # it uploads when it likes
        with bazel_remote(tmp_path / "two", behind.grpc) as proxy:
            all_hits(second.build(*TARGETS, f"--remote_cache=grpc://{proxy.grpc}"), cold)
        first.clean()
        with bazel_remote(tmp_path / "three", behind.grpc) as proxy:
            all_hits(first.build(*TARGETS, f"--remote_cache=http://{proxy.http}"), cold)


def all_hits(build: Build, cold: Build) -> None:
    """Check that a build ran nothing and gave what the cold one gave."""
    assert (build.status, build.executed) == (0, []), build.output
    assert build.outputs() == cold.outputs()
