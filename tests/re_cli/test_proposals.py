"""`holdfast pins proposals`, `confirm` and `discard`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import connected
from tests.re_cli.command import Done, Holdfast
from tests.re_server.doors import PROPOSE, WRITE, doors


@dataclass(frozen=True)
class Known:
    """What `ann` and `eve` propose for two actions, and `eve` alone for a third."""

    holdfast: Holdfast
    same: str
    differing: str
    alone: str

    def run(self, *arguments: str) -> Done:
        name, *others = arguments
        return self.holdfast("pins", name, "--instance", "main", *others)

    def listed(self, *options: str) -> set[tuple[str, str]]:
        """Return the actions and writers that are listed."""
        done = self.run("proposals", "--json", *options)
        assert done.status == 0, done.stderr
        return {(one["action"], one["writer"]) for one in json.loads(done.stdout)}


@pytest.fixture
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    folder = tmp_path_factory.mktemp("served")
    callers = {"ann": PROPOSE, "eve\x1b[31m": PROPOSE, "ci": WRITE}
    settings = "worker.enabled = false\n[instances.main]\nconfirmations = 0\n"
    with doors(folder, callers, settings) as made:
        actions = []
        with connected(made.ports["ann"]) as one, connected(made.ports["eve\x1b[31m"]) as other:
            ann, eve = one.at("main"), other.at("main")
            for writers in ((ann, eve), (ann, eve), (eve,)):
                action, data = put_script(ann, "true"), unique()
                actions.append(f"{action.hash}/{action.size_bytes}")
                for number, writer in enumerate(writers):
                    result = reapi.ActionResult()
                    said = data if len(actions) == 1 else data + bytes([number])
                    result.output_files.add(path="out", digest=writer.put_one(said))
                    writer.update_result(action, result)
        yield Known(Holdfast(made.ports["ci"]), *actions)


def test_proposals_are_listed_confirmed_and_discarded(known: Known) -> None:
    eve = "eve\x1b[31m"
    assert known.listed() == {
        (known.same, "ann"), (known.same, eve), (known.differing, "ann"), (known.differing, eve),
        (known.alone, eve),
    }  # fmt: skip
    assert known.listed("--conflicting") == {(known.differing, "ann"), (known.differing, eve)}
    assert known.listed("--writer", "an?", "--action", known.same) == {(known.same, "ann")}
    table = known.run("proposals", "--writer", "eve*")
    assert "\x1b" not in table.text
    assert [line.split()[2] for line in table.lines[1:]].count("conflicting") == 1
    assert known.run("confirm", known.alone, "--writer", "ann").status == 1
    done = known.run("confirm", known.differing, "--writer", "ann", "--json")
    assert done.json()["action"] == known.differing
    assert known.run("show", known.differing).status == 0
    assert (known.differing, eve) not in known.listed()
    assert known.run("discard").status == 2
    assert known.run("discard", "--writer", "eve*").text == "discarded 2 proposals\n"
    assert known.listed() == {(known.same, "ann")}
