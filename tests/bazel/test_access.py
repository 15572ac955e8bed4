"""Bazel against a server that asks who calls.

Not encrypted: Debian's Bazel is built without TLS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.access.callers import Tokens
from tests.bazel.driver import Bazel
from tests.bazel.options import JOBS
from tests.bazel.test_trouble import package
from tests.serving import Served, serving

ONE = 'genrule(name = "one", outs = ["one.txt"], cmd = "echo one > $@")\n'


@dataclass(frozen=True)
class Guarded:
    served: Served
    tokens: Tokens

    def options(self, name: str) -> tuple[str, ...]:
        return (
            f"--remote_executor=grpc://{self.served.grpc}",
            f"--remote_header=authorization=Bearer {self.tokens.by_name[name]}",
            f"--jobs={JOBS}",
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    tokens = Tokens(folder)
    tokens.add("developer", "reader")
    settings = tokens.settings({"token:developer": '"developer"', "token:reader": '"reader"'})
    with serving(folder / "server", settings) as made:
        yield Guarded(made, tokens)


def test_a_developer_builds_and_a_reader_is_told_that_it_may_not(
    guarded: Guarded, first: Bazel, second: Bazel
) -> None:
    for bazel in (first, second):
        package(bazel, "one", ONE)
    built = first.build("//one", *guarded.options("developer"))
    assert built.status == 0, built.output
    assert [spawn.runner for spawn in built.executed] == ["remote"]
    refused = second.build("//one", *guarded.options("reader"))
    assert refused.status != 0
    assert "not authorized" in refused.output or "not supported" in refused.output, refused.output
    cached = second.build(
        "//one",
        *(each.replace("remote_executor", "remote_cache") for each in guarded.options("reader")),
        "--remote_upload_local_results=false",
    )
    assert cached.status == 0, cached.output
    assert cached.remote_hits == 1
