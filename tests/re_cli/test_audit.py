"""`holdfast audit`, on a real server and its real worker."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.protocol.peer import connected
from tests.re_cli.command import Holdfast
from tests.re_cli.flaky import INVOCATION, RANDOM, Named, named, run
from tests.serving import HOLDFAST, Served, serving

SETTINGS = "worker.slots = 2\ndeterminism.audit.sample = 0.0\n"


@dataclass(frozen=True)
class Built:
    """Actions that were executed once."""

    steady: Named
    flaky: Named


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def built(served: Served) -> Built:
    with connected(served.grpc) as peer:
        steady = named(peer, "echo steady > out", "//lib:steady")
        flaky = named(peer, RANDOM, "//lib:flaky")
        run(peer, steady)
        run(peer, flaky)
    return Built(steady, flaky)


def test_an_action_that_always_gives_the_same_is_status_0(holdfast: Holdfast, built: Built) -> None:
    done = holdfast("audit", built.steady.text)
    assert done.status == 0, done.stderr
    assert done.text.startswith(f"{built.steady.text}  the same in ")
    assert done.stderr == "holdfast: 1 action audited: 1 the same, 0 different\n"


def test_what_differs_is_said_with_its_cause_and_kept_as_latent(
    holdfast: Holdfast, built: Built
) -> None:
    done = holdfast("audit", built.flaky.text, "--runs", "2")
    assert done.status == 4, done.stderr
    assert done.text.startswith(f"{built.flaky.text}  differs in ")
    assert "cause: random" in done.text
    listed = holdfast("nondeterminism", "--json").json()
    assert [(group["conflicts"], group["latent"] > 0) for group in listed["groups"]] == [(0, True)]  # type: ignore[attr-defined]
    shown = holdfast("nondeterminism", "show", built.flaky.digest.hash[:12])
    assert "Found by audits" in shown.lines
    assert "In service" not in shown.lines


def test_actions_are_chosen_by_target_and_by_invocation(holdfast: Holdfast, built: Built) -> None:
    done = holdfast("audit", "--target", "//lib:st*", "--json")
    assert done.status == 0, done.stderr
    (audited,) = json.loads(done.stdout)["audited"]
    assert audited["action_digest"]["hash"] == built.steady.digest.hash
    assert audited["differs"] is False
    done = holdfast("audit", "--invocation", INVOCATION, "--runs", "2", "--json")
    assert done.status == 4, done.stderr
    found = {each["action_digest"]["hash"]: each for each in json.loads(done.stdout)["audited"]}
    assert found.keys() == {built.steady.digest.hash, built.flaky.digest.hash}
    assert found[built.flaky.digest.hash]["differences"][0]["cause"] == "random"


def test_a_terminal_shows_how_far_it_is_and_stdout_has_results_alone(
    holdfast: Holdfast, built: Built
) -> None:
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [HOLDFAST, "audit", built.steady.text],
        stdout=subprocess.PIPE,
        stderr=its,
        env={**os.environ, "HOLDFAST_SERVER": holdfast.server, "COLUMNS": "100", "TERM": "xterm"},
    )
    os.close(its)
    shown = b""
    while piece := read(ours):
        shown += piece
    stdout, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert b"0/1" in shown
    assert b"now: " in shown
    assert stdout.decode().startswith(f"{built.steady.text}  the same in ")
    assert stdout.count(b"\n") == 1


def read(terminal: int) -> bytes:
    """Read on; return nothing once the program has ended."""
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_what_cannot_be_audited_is_status_1(holdfast: Holdfast) -> None:
    for chosen in (("0" * 64 + "/7",), ("--target", "//nowhere:*"), ("--invocation", "none")):
        done = holdfast("audit", *chosen)
        assert done.status == 1
        assert done.stderr.startswith("holdfast: ")


def test_one_way_to_choose_is_to_be_given(holdfast: Holdfast, built: Built) -> None:
    for chosen in ((), (built.steady.text, "--target", "//..."), ("not a digest",)):
        assert holdfast("audit", *chosen).status == 2
    assert holdfast("audit", built.steady.text, "--runs", "0").status == 2
