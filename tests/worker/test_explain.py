from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec

from re_config import schema
from tests.re_cli.command import Holdfast
from worker.explain import explain
from worker.prevention import PLAIN, SWITCHES, UNPREVENTABLE

holdfast = Holdfast("127.0.0.1:1")  # nobody is there


async def explained(worker: dict[str, object]) -> dict[str, tuple[bool, bool, str]]:
    explanation = await explain(msgspec.convert(worker, schema.Worker))
    assert explanation.fault == ""
    assert [line.name for line in explanation.switches] == [switch.name for switch in SWITCHES]
    assert all((line.why == "") == line.possible for line in explanation.switches)
    return {line.name: (line.on, line.possible, line.why) for line in explanation.switches}


async def test_this_host_can_keep_everything_the_same() -> None:
    lines = await explained({})
    assert {name for name, line in lines.items() if not line[1]} == set()
    assert {name for name, line in lines.items() if not line[0]} == {"processors", "tmpfs"}


async def test_what_is_off_is_tried_all_the_same() -> None:
    lines = await explained(
        {
            "prevent": {"addresses": False, "processors": 1},
            "sandbox": {"kind": "bubblewrap", "network": True},
            "working_tree": "tmpfs",
        }
    )
    assert lines["addresses"] == (False, True, "")
    assert lines["processors"] == (True, True, "")
    assert lines["tmpfs"] == (True, True, "")
    on, possible, why = lines["network"]
    assert not on
    assert not possible
    assert "interfaces" in why


async def test_without_a_sandbox_most_is_not_possible() -> None:
    lines = await explained({"sandbox": {"kind": "none"}})
    assert {name for name, line in lines.items() if line[1]} == PLAIN | {"tmpfs"}
    assert "worker.sandbox.kind" in lines["path"][2]


async def test_a_folder_that_is_not_in_memory_is_said(tmp_path: Path) -> None:
    lines = await explained({"memory_path": "/usr"})
    assert lines["tmpfs"] == (False, False, "it is not on tmpfs")
    lines = await explained({"memory_path": str(tmp_path / "none")})
    assert lines["tmpfs"][2] == "there is no such folder"


def test_the_command_prints_a_table_and_needs_no_server() -> None:
    done = holdfast("worker", "--explain")
    assert done.status == 0
    for name in (*(switch.name for switch in SWITCHES), *(name for name, _ in UNPREVENTABLE)):
        assert name in done.text


def test_the_command_prints_json_and_leaves_a_worker_alone(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'worker.path = "{tmp_path}/worker"\nworker.prevent.umask = false\n')
    said = holdfast("worker", "--explain", "--json", "--config", config).json()
    lines = cast("list[dict[str, object]]", said["switches"])
    umask = next(line for line in lines if line["name"] == "umask")
    assert (umask["on"], umask["possible"]) == (False, True)
    assert said["sandbox"] == "bubblewrap"
    assert said["unpreventable"] == dict(UNPREVENTABLE)
    assert not (tmp_path / "worker").exists()


def test_a_host_without_a_sandbox_ends_with_1(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('worker.sandbox = { kind = "bubblewrap", program = "no-such-bwrap" }\n')
    done = holdfast("worker", "--explain", "--json", "--config", config)
    assert done.status == 1
    assert "no-such-bwrap" in str(done.json()["fault"])
    assert "no action can run here" in done.stderr


def test_json_is_for_the_explanation_alone() -> None:
    done = holdfast("worker", "--json")
    assert done.status == 2
    assert "--explain" in done.stderr
