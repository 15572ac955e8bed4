"""Remote cache and remote execution of the generated work space, by the real Bazel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bazel.driver import Bazel, Build
from tests.bazel.options import execution
from tests.bazel.scrape import scrape
from tests.bazel.workspace import LINKED
from tests.serving import Served, serving

ACTIONS = 130
"""The work space has more actions than this, so that a test cannot pass by building nothing."""

ONE_ACTION_A_TEST = "--noexperimental_split_xml_generation"
"""Otherwise a test's report is an action of its own, that is told how many seconds the test took
where it ran. Bazel uploads no times with the results of its own runs, so that elsewhere the report
would be another action."""


def passed(build: Build) -> Build:
    assert build.status == 0, build.output
    return build


def assert_all_from_cache(build: Build) -> None:
    passed(build)
    assert build.executed == []
    assert build.remote_hits > ACTIONS


def test_a_second_clean_work_space_executes_nothing(
    served: Served, first: Bazel, second: Bazel
) -> None:
    # REAPI rule: a Bazel that speaks 2.0 sends output_files and output_directories, and expects
    # their parent directories to exist.
    cold = passed(first.test("//...", *execution(served)))
    assert len(cold.executed_remotely) == len(cold.spawns) > ACTIONS
    warm = second.test("//...", *execution(served))
    assert_all_from_cache(warm)
    assert warm.outputs() == cold.outputs()


def test_a_remote_cache_alone_serves_a_second_work_space(
    tmp_path: Path, first: Bazel, second: Bazel
) -> None:
    with serving(tmp_path / "cache", "execution.enabled = false\nworker.enabled = false") as served:
        options = (f"--remote_cache=grpc://{served.grpc}", ONE_ACTION_A_TEST)
        cold = passed(first.test("//...", *options))
        assert cold.remote_hits == 0
        assert cold.executed_remotely == []
        warm = second.test("//...", *options)
        assert_all_from_cache(warm)
        assert warm.outputs() == cold.outputs()


def test_what_is_built_without_downloads_stays_on_the_server(
    served: Served, first: Bazel, second: Bazel
) -> None:
    options = (
        *execution(served),
        "--remote_download_minimal",
        "--remote_instance_name=team/a",
        f"--build_tag_filters=-{LINKED}",
    )
    cold = passed(first.test("//...", *options))
    assert len(cold.executed_remotely) > ACTIONS
    assert not built(first, "chain/big.txt").exists()
    assert_all_from_cache(second.test("//...", *options))
    assert not built(second, "chain/big.txt").exists()

    # Inputs that were never downloaded are known to Bazel by their digests alone.
    (first.workspace / "cc" / "main.cc").write_text("int part1(int); int main() { part1(1); }\n")
    relinked = passed(first.build("//cc:main", *options))
    assert [spawn.mnemonic for spawn in relinked.executed] == ["CppCompile", "CppLink"]


def test_instances_do_not_share_results(served: Served, first: Bazel, second: Bazel) -> None:
    passed(first.build("//chain/...", *execution(served), "--remote_instance_name=one"))
    other = passed(second.build("//chain/...", *execution(served), "--remote_instance_name=other"))
    assert other.remote_hits == 0


def test_two_builds_at_once_run_each_action_once(
    served: Served, first: Bazel, second: Bazel
) -> None:
    with ThreadPoolExecutor() as threads:
        both = [
            threads.submit(bazel.test, "//...", *execution(served)) for bazel in (first, second)
        ]
        builds = [passed(build.result()) for build in both]
    assert builds[0].outputs() == builds[1].outputs()
    executed = scrape(served.web).total("holdfast_executions_total")
    assert executed == len(builds[0].spawns) == len(builds[1].spawns)


def built(bazel: Bazel, path: str) -> Path:
    """Return where Bazel leaves the output `path`."""
    return bazel.workspace / "bazel-bin" / path
