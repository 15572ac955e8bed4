"""`holdfast nondeterminism`, on a server where results differed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.protocol.peer import Peer, connected
from tests.re_cli.command import Done, Holdfast
from tests.re_cli.flaky import INVOCATION, RANDOM, Named, named, output, run
from tests.serving import HOLDFAST, Served, serving

ATTRIBUTED_SECONDS = 60.0
SECONDS = re.compile(r"\d+(?:\.\d)? s")
STEERING = "//evil:\x1b[2J[red]"
SETTINGS = "worker.slots = 2\ndeterminism.arbitrate = false\ndeterminism.audit.sample = 0.0\n"


@dataclass(frozen=True)
class Built:
    """A server after a build.

    flaky: gave three results, and `consumer`, which takes its output and runs for a second, was
    answered from the cache afterwards. noisy: another stdout each time. steady: always the same.
    """

    server: str
    flaky: Named
    noisy: Named
    steady: Named
    consumer: Named

    def __call__(self, *arguments: str, columns: str = "200") -> Done:
        """Run the command. columns: of the window; "" where none is known, as in a pipe."""
        environment = {**os.environ, "HOLDFAST_SERVER": self.server, "COLUMNS": columns}
        done = subprocess.run(
            [HOLDFAST, "nondeterminism", *arguments],
            capture_output=True,
            check=False,
            env=environment,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.status == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def built(served: Served) -> Built:
    with connected(served.grpc) as peer:
        made = build(peer, served.grpc)
    deadline = time.monotonic() + ATTRIBUTED_SECONDS
    while not attributed(made):
        assert time.monotonic() < deadline, "the conflicts were not attributed"
        time.sleep(0.1)
    return made


def build(peer: Peer, server: str) -> Built:
    flaky = named(peer, RANDOM, STEERING)
    first = output(peer, run(peer, flaky))
    consumer = named(peer, "sleep 1; cp in out", "//app:app", inputs={"in": first})
    run(peer, consumer)
    steady = named(peer, "echo steady > out", "//lib:steady")
    noisy = named(peer, "cat /proc/sys/kernel/random/uuid; echo same > out", "//lib:noisy")
    for _ in range(2):
        run(peer, flaky)
        run(peer, steady)
        run(peer, noisy)
    assert run(peer, consumer, fresh=False).response.cached_result
    return Built(server, flaky, noisy, steady, consumer)


def attributed(built: Built) -> bool:
    groups = built.json()["groups"]
    return len(groups) == 2 and all(group["causes"] for group in groups)


def test_the_worst_come_first_with_what_pinning_them_saved(built: Built) -> None:
    done = built()
    assert done.status == 0, done.stderr
    head, worst, other, *rest = done.lines
    assert head.split()[:3] == ["conflicts", "latent", "saved"]
    assert worst.split()[:3] == ["2", "0", "1"]
    assert built.flaky.digest.hash[:12] in worst
    assert "random" in worst
    assert SECONDS.fullmatch(" ".join(worst.split()[3:5]))
    assert other.split()[:4] == ["1", "0", "0", "-"]
    assert "stdout/stderr" in other
    assert built.noisy.digest.hash[:12] in other
    assert rest[0].startswith("stdout/stderr: only these differ")
    assert "8 results of 4 actions seen: 3 conflicts, 0 latent" in rest[-1]
    assert built.steady.digest.hash[:12] not in done.text


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("program", ["cat", "sh"]),
        ("target", [STEERING, "//lib:noisy"]),
        ("mnemonic", ["Genrule"]),
        ("cause", ["random"]),
    ],
)
def test_actions_are_put_together_by_what_is_asked_for(
    built: Built, by: str, names: list[str]
) -> None:
    assert [group["name"] for group in built.json("--by", by)["groups"]] == names
    assert built("--by", by).status == 0


def test_a_narrow_window_gets_blocks_and_a_pipe_a_line_for_each_action(built: Built) -> None:
    narrow = built(columns="60")
    assert max(map(len, narrow.lines)) <= 60
    assert narrow.lines[0] == built.flaky.digest.hash[:12]
    figures, saved = narrow.lines[1].rsplit(", ", 1)
    assert figures == "    2 conflicts, 0 latent; saved 1 action"
    assert SECONDS.fullmatch(saved)
    piped = built(columns="")
    assert [line.split()[0] for line in piped.lines[:3]] == ["conflicts", "2", "1"]
    assert all(line == line.rstrip() for line in piped.lines)


def test_what_clients_say_does_not_steer_the_terminal(built: Built) -> None:
    shown = built("show", built.flaky.text)
    for done in (built(), built(columns="60"), built("--by", "target"), shown):
        assert "\x1b" not in done.text
        assert "//evil:\\x1b[2J[red]" in done.text


def test_what_is_older_than_asked_for_is_left_out(built: Built) -> None:
    assert len(built.json("--since", "1h")["groups"]) == 2
    assert len(built.json("--limit", "1")["groups"]) == 1
    done = built("--since", "2100-01-01")
    assert done.status == 0
    assert done.text == "no result has differed: 0 results of 0 actions seen, 0 actions audited\n"
    assert built("--since", "yesterday").status == 2


def test_one_action_is_explained_side_by_side(built: Built) -> None:
    done = built("show", built.flaky.text, columns="100")
    assert done.status == 0, done.stderr
    assert f"action    {built.flaky.text}" in done.lines
    assert "differs   2 conflicts in service, 0 in audits" in done.lines
    assert any(line.startswith("saved     1 later action, ") for line in done.lines)
    assert any(line.split()[-4:-2] == ["s", "once"] for line in done.lines)
    assert "In service" in done.lines
    assert "Found by audits" not in done.lines
    assert any(line.split() == ["first", "then"] for line in done.lines)
    assert "    cause: random" in done.text
    assert built.consumer.digest.hash[:12] in done.text
    assert "//app:app" in done.text
    assert max(map(len, done.lines)) <= 100
    assert INVOCATION not in built("show", built.flaky.text, columns="80").text


def test_the_first_digits_of_an_action_will_do(built: Built) -> None:
    digits = built.flaky.digest.hash[:12]
    assert built("show", digits).text == built("show", built.flaky.text).text
    assert built.json("show", digits)["summary"]["name"] == built.flaky.text


def test_an_explanation_as_json_has_both_texts_and_every_run(built: Built) -> None:
    found = built.json("show", built.flaky.text)
    assert [each["verdict"] for each in found["observations"]] == ["conflict", "conflict", "first"]
    assert {each["invocation"] for each in found["observations"]} == {INVOCATION}
    assert found["pin"]["conflicts"] == 2
    difference = found["differences"][0]
    assert difference["where"] == "out"
    assert difference["first_text"] != difference["then_text"]
    assert found["consumers"][0]["saved"] == 1


def test_an_action_that_never_differed_is_shown_with_its_runs(built: Built) -> None:
    done = built("show", built.steady.text)
    assert done.status == 0
    assert "differs   never, in 2 results" in done.lines


def test_what_is_not_known_is_said_in_one_line(built: Built) -> None:
    for unknown in ("0" * 64 + "/7", "0123456789ab"):
        done = built("show", unknown)
        assert done.status == 1
        assert done.stderr.startswith("holdfast: ")
        assert done.stderr.count("\n") == 1
    assert built("show", "xyz").status == 2
    assert built("--by", "cause", "show", built.flaky.text).status == 2


def test_without_a_ledger_the_setting_is_named(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with serving(tmp_path_factory.mktemp("bare"), "ledger.enabled = false\n") as server:
        done = Holdfast(server.grpc)("nondeterminism")
    assert done.status == 1
    assert done.stderr == "holdfast: no ledger is kept here: ledger.enabled is false\n"
