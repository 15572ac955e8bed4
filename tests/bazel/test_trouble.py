"""What a user of Bazel sees when something goes wrong."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.bazel.driver import Bazel, Build
from tests.bazel.options import execution
from tests.bazel.scrape import scrape
from tests.serving import Served, serving

DICE = 'genrule(name = "dice", outs = ["dice.txt"], cmd = "date +%s%N > $@; echo $$RANDOM >> $@")\n'
POLL_SECONDS = 0.02


def package(bazel: Bazel, name: str, build: str) -> None:
    folder = bazel.workspace / name
    folder.mkdir(exist_ok=True)
    (folder / "BUILD").write_text(build)


def test_a_failing_action_tells_its_user_why_and_is_not_cached(
    served: Served, first: Bazel, second: Bazel
) -> None:
    # REAPI convention: a result whose exit code is not 0 is not cached.
    for bazel in (first, second):
        package(
            bazel,
            "failing",
            'genrule(name = "failing", outs = ["never"], '
            'cmd = "echo to stdout; echo the reason >&2; touch $@; exit 42")\n',
        )
        build = bazel.build("//failing", *execution(served))
        assert build.status == 1
        assert "(Exit 42)" in build.output
        assert "to stdout" in build.output
        assert "the reason" in build.output
        assert [(spawn.runner, spawn.exit_code) for spawn in build.executed] == [("remote", 42)]


def test_a_missing_output_fails_the_build_and_not_the_call(served: Served, first: Bazel) -> None:
    # REAPI rule: an output that was not made is omitted; that is no error of the server.
    package(
        first, "absent", 'genrule(name = "absent", outs = ["a", "b"], cmd = "touch $(RULEDIR)/a")\n'
    )
    build = first.build("//absent", *execution(served))
    assert build.status == 1
    assert "was not created" in build.output


def test_an_action_that_takes_too_long_is_stopped_and_what_it_printed_is_kept(
    served: Served, first: Bazel
) -> None:
    # REAPI rule: partial stdout may come with DEADLINE_EXCEEDED.
    package(first, "slow", 'sh_test(name = "slow", srcs = ["slow.sh"])\n')
    script = first.workspace / "slow" / "slow.sh"
    script.write_text("#!/bin/sh\necho before the end\nsleep 500 &\nsleep 500\n")
    script.chmod(0o755)
    build = first.test("//slow", *execution(served), "--test_timeout=2")
    assert build.status == 3
    assert "TIMEOUT" in build.output
    assert "before the end" in build.output


def test_an_action_that_never_gives_the_same_twice_stays_as_it_was_first(
    served: Served, first: Bazel, second: Bazel
) -> None:
    for bazel in (first, second):
        package(bazel, "dice", DICE)
    thrown = first.build("//dice", *execution(served)).outputs()
    kept = second.build("//dice", *execution(served))
    assert kept.outputs() == thrown
    assert kept.executed == []

    # REAPI rule: who asks for no cached result gets a fresh one; the pin stays, and is compared.
    second.clean()
    again = second.build("//dice", *execution(served), "--noremote_accept_cached")
    assert [spawn.runner for spawn in again.spawns] == ["remote"]
    assert again.outputs() != thrown
    assert scrape(served.web).total("holdfast_results_total", verdict="conflict") == 1
    second.clean()
    assert second.build("//dice", *execution(served)).outputs() == thrown


def test_a_build_goes_on_when_the_server_is_killed_and_comes_back(
    tmp_path: Path, first: Bazel, second: Bazel
) -> None:
    folder = tmp_path / "served"
    with ThreadPoolExecutor() as threads:
        with serving(folder) as served:
            options = (*execution(served), "--remote_retries=12")
            build = threads.submit(first.test, "//...", *options)
            wait_for(first.workspace / "bazel-bin" / "chain" / "link12.txt", build)
            served.kill()
        with serving(folder, listen=served.grpc) as served:
            finished = build.result()
            assert finished.status == 0, finished.output
            assert scrape(served.web).total("holdfast_executions_total") > 0
            warm = second.test("//...", *execution(served))
            assert warm.executed == []
            assert warm.outputs() == finished.outputs()


def wait_for(path: Path, build: Future[Build]) -> None:
    """Return when the build that is under way has made `path`; fail if it ends without."""
    while not path.exists():
        if build.done():
            pytest.fail(f"the build ended too early:\n{build.result().output}")
        time.sleep(POLL_SECONDS)
