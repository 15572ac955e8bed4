from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from secrets import token_hex

import grpc
import pytest

from cas.digest import Digest
from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from protos.admin_pb2_grpc import AdminStub
from re_client.pin_file import write_end, write_header, write_pin
from tests.protocol.actions import command, put_action
from tests.protocol.peer import Peer, connected, refused
from tests.re_cli.command import Done, Holdfast
from tests.serving import HOLDFAST, Served, serving

SETTINGS = """
execution.no_worker_seconds = 20
"""
RANDOM = "cat /proc/sys/kernel/random/uuid > out"
ORIGINS = [
    admin.Origin(program="cc", target="//lib:a", mnemonic="CppCompile", invocation="build 1"),
    admin.Origin(program="cc", target="//lib:b", mnemonic="CppCompile", toolchain="tools"),
    admin.Origin(program="rustc", target="//bin:c\x1b[2J[red]", mnemonic="Rustc", rules="7"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), SETTINGS) as server:
        yield server


@pytest.fixture
def peer(served: Served) -> Iterator[Peer]:
    with connected(served.grpc) as made:
        yield made


@dataclass(frozen=True)
class Known:
    """Three pins, of origins that are ORIGINS, in an instance of their own."""

    holdfast: Holdfast
    instance: str
    actions: Sequence[str]

    def run(self, *arguments: str | Path) -> Done:
        name, *others = arguments
        return self.holdfast("pins", name, "--instance", self.instance, *others)

    def listed(self, *options: str) -> list[int]:
        """Return which of the three are listed."""
        done = self.run("list", "--json", *options)
        assert done.status == 0, done.stderr
        return sorted(self.actions.index(pin["action"]) for pin in json.loads(done.stdout))


def pin_of(instance: str, number: int, digest: reapi.Digest) -> admin.Pin:
    action = Digest.of(b"action %d" % number)
    pin = admin.Pin(
        instance_name=instance,
        action_digest=reapi.Digest(hash=action.hash, size_bytes=action.size),
        revision=number + 1,
        conflicts=number,
        origin=ORIGINS[number],
    )
    pin.result.output_files.add(path="out", digest=digest)
    pin.result.execution_metadata.worker = f"worker {number}"
    pin.pinned.FromSeconds(1_700_000_000 + 3600 * number)
    return pin


def write_pins(file: Path, *pins: admin.Pin) -> Path:
    with file.open("wb") as out:
        write_header(out)
        for pin in pins:
            write_pin(out, pin)
        write_end(out)
    return file


@pytest.fixture
def known(served: Served, peer: Peer) -> Known:
    instance = f"of/{token_hex(8)}"
    digest = peer.put_one(b"an output")
    pins = [pin_of(instance, number, digest) for number in range(3)]
    assert AdminStub(peer.channel).ImportPins(iter(pins)) == admin.ImportPinsResponse(imported=3)
    return Known(
        Holdfast(served.grpc),
        instance,
        [f"{pin.action_digest.hash}/{pin.action_digest.size_bytes}" for pin in pins],
    )


def test_pins_are_listed_the_latest_first(known: Known) -> None:
    done = known.run("list")
    assert done.status == 0, done.stderr
    heading, *rows = done.lines
    assert heading.split() == [
        "action", "revision", "conflicts", "program", "target", "worker", "pinned"
    ]  # fmt: skip
    assert [row.split()[0] for row in rows] == list(reversed(known.actions))
    assert rows[-1].split() == [
        known.actions[0], "1", "0", "cc", "//lib:a", "worker", "0", "2023-11-14", "22:13:20Z"
    ]  # fmt: skip


def test_what_came_from_elsewhere_does_not_steer_the_terminal(known: Known) -> None:
    for done in (known.run("list"), known.run("show", known.actions[2])):
        assert "\x1b" not in done.text
        assert r"//bin:c\x1b[2J[red]" in done.text


def test_a_program_gets_the_pins_as_json(known: Known) -> None:
    done = known.run("list", "--json", "--program", "rustc")
    (pin,) = json.loads(done.stdout)
    assert pin["action"] == known.actions[2]
    assert (pin["revision"], pin["conflicts"], pin["instance_name"]) == (3, 2, known.instance)
    assert pin["origin"]["target"] == "//bin:c\x1b[2J[red]"
    assert "result" not in pin
    assert json.loads(known.run("list", "--json", "--program", "absent").stdout) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [0, 1, 2]),
        (("--program", "c*"), [0, 1]),
        (("--tool", "rustc"), [2]),
        (("--target", "//lib:*"), [0, 1]),
        (("--mnemonic", "CppCompile", "--target", "*b"), [1]),
        (("--worker", "worker [12]"), [1, 2]),
        (("--toolchain", "tools"), [1]),
        (("--invocation", "build ?"), [0]),
        (("--conflicting",), [1, 2]),
        (("--since", "2023-11-14T23:13:20Z"), [1, 2]),
        (("--until", "2023-11-14T23:13:20Z"), [0]),
        (("--since", "2023-11-14T23:13:20Z", "--until", "2023-11-15T00:00:00Z"), [1]),
        (("--since", "2h"), []),
        (("--until", "3d"), [0, 1, 2]),
    ],
    ids=count(),
)
def test_options_say_which_pins(
    known: Known, options: tuple[str, ...], expected: list[int]
) -> None:
    assert known.listed(*options) == expected


def test_pins_are_named_by_their_actions(known: Known) -> None:
    two = ("--action", known.actions[0], "--action", known.actions[2])
    assert known.listed(*two) == [0, 2]
    assert known.listed("--action", "a" * 64 + "/1") == []


def test_all_instances_are_listed_where_that_is_asked_for(known: Known) -> None:
    elsewhere = replace(known, instance=f"{known.instance}/other")
    assert elsewhere.listed() == []
    done = elsewhere.run("list", "--json", "--all-instances")
    assert known.instance in {pin["instance_name"] for pin in json.loads(done.stdout)}
    assert elsewhere.run("list", "--all-instances").lines[0].startswith("instance")


def test_a_pin_is_shown_with_its_history_and_result(known: Known) -> None:
    done = known.run("show", known.actions[1])
    assert done.status == 0, done.stderr
    output = Digest.of(b"an output")
    for line in (
        f"pin of {known.actions[1]}",
        "revision: 2",
        "later results that differed: 1",
        "program: cc",
        "target: //lib:b",
        "toolchain: tools",
        "worker: worker 1",
        f"out: {output}",
        "exit code: 0",
    ):
        assert line in done.text, done.text
    shown = known.run("show", "--json", known.actions[1]).json()
    assert isinstance(shown["result"], dict)
    assert shown["result"]["output_files"][0]["path"] == "out"


def hits(peer: Peer, instance: str) -> list[bool]:
    """Tell for each of the three actions whether it is a hit."""
    found = []
    for number in range(3):
        action = Digest.of(b"action %d" % number)
        wanted = reapi.Digest(hash=action.hash, size_bytes=action.size)
        try:
            peer.at(instance).get_result(wanted)
            found.append(True)
        except grpc.RpcError:
            found.append(False)
    return found


def test_pins_that_are_dropped_are_misses_at_once(known: Known, peer: Peer) -> None:
    assert hits(peer, known.instance) == [True, True, True]
    tried = known.run("drop", "--dry-run", "--program", "cc")
    assert (tried.status, tried.text) == (0, "would drop 2 pins\n")
    assert known.run("drop", "--dry-run", "--json", "--program", "cc").json() == {
        "dropped": 0,
        "found": 2,
    }
    assert hits(peer, known.instance) == [True, True, True]
    done = known.run("drop", "--target", "//lib:a")
    assert (done.status, done.text) == (0, "dropped 1 pin\n")
    assert hits(peer, known.instance) == [False, True, True]
    assert known.run("drop", "--json", "--every").json() == {"dropped": 2, "found": 2}
    assert hits(peer, known.instance) == [False, False, False]
    assert known.run("drop", "--every").text == "dropped 0 pins\n"


def test_all_pins_are_dropped_only_if_that_is_said(known: Known, peer: Peer) -> None:
    done = known.run("drop")
    assert done.status == 2
    assert "--every" in done.stderr
    unfiltered = admin.DropPinsRequest(filter=admin.PinFilter(instance_name=known.instance))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="every"):
        AdminStub(peer.channel).DropPins(unfiltered)
    assert known.listed() == [0, 1, 2]


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", [0, 1, 2]), (b"y\n", [2])])
def test_on_a_terminal_one_is_asked_first(known: Known, answer: bytes, left: list[int]) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        line = ["pins", "drop", "--instance", known.instance, "--program", "cc"]
        done = subprocess.run(
            [HOLDFAST, *line, "--server", known.holdfast.server],
            stdin=theirs,
            capture_output=True,
            check=False,
            text=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert "drop 2 pins and the cached results?" in done.stderr
    assert done.stdout == ("dropped 2 pins\n" if left == [2] else "")
    assert done.returncode == (0 if left == [2] else 1)
    assert known.listed() == left


def test_a_pin_is_replaced_by_a_result_in_a_file(known: Known, peer: Peer, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_bytes(known.run("show", "--json", known.actions[0]).stdout)
    other = reapi.ActionResult()
    other.output_files.add(path="out", digest=peer.put_one(b"another output"))
    (tmp_path / "other").write_bytes(other.SerializeToString())
    done = known.run("replace", known.actions[0], "--result", tmp_path / "other")
    assert done.status == 0, done.stderr
    assert "revision: 2" in done.text
    assert f"out: {Digest.of(b'another output')}" in done.text
    back = known.run("replace", "--json", known.actions[0], "--result", old).json()
    assert back["revision"] == 3
    assert isinstance(back["result"], dict)
    assert back["result"] == json.loads(old.read_bytes())["result"]
    old.write_text(json.dumps(back["result"]))
    again = known.run("replace", "--json", known.actions[0], "--result", old).json()
    assert (again["revision"], again["agreements"]) == (3, 1)


def test_a_pin_is_replaced_by_a_new_run(known: Known, peer: Peer) -> None:
    action = put_action(peer, command(RANDOM, outputs=["out"]))
    first = peer.execute(action).result
    named = f"{action.hash}/{action.size_bytes}"
    done = known.holdfast("pins", "replace", "--json", named)
    assert done.status == 0, done.stderr
    assert done.json()["revision"] == 2
    now = peer.get_result(action)
    assert now.output_files[0].digest != first.output_files[0].digest
    assert peer.execute(action).result == now
    failing = put_action(peer, command(f"{RANDOM}; test ! -e /proc/self || exit 7"))
    result = reapi.ActionResult()
    result.output_files.add(path="out", digest=peer.put_one(b"an output"))
    peer.update_result(failing, result)
    done = known.holdfast("pins", "replace", f"{failing.hash}/{failing.size_bytes}")
    assert done.status == 1
    assert "ended with 7" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert peer.get_result(failing).output_files == result.output_files


def test_pins_go_to_another_server_and_stay_what_they_are(
    known: Known, peer: Peer, tmp_path: Path
) -> None:
    file = tmp_path / "pins"
    done = known.run("export", file)
    assert (done.status, done.text) == (0, "")
    assert done.stderr == "holdfast: exported 3 pins\n"
    piped = known.run("export", "-")
    assert piped.stdout == file.read_bytes()
    some = known.run("export", "--program", "rustc", tmp_path / "some")
    assert some.stderr == "holdfast: exported 1 pin\n"
    with serving(tmp_path / "other") as other, connected(other.grpc) as there:
        holdfast = Holdfast(other.grpc)
        lacking = holdfast("pins", "import", "--json", "--all-instances", file)
        assert lacking.json() == {"imported": 0, "kept": 0, "incomplete": 3}
        there.put(b"an output")
        line = ("pins", "import", "--instance", "elsewhere")
        with file.open("rb") as stdin:
            done_piped = subprocess.run(
                [HOLDFAST, *line, "--server", other.grpc, "-"],
                stdin=stdin,
                capture_output=True,
                check=False,
            )
        assert done_piped.stdout.startswith(b"imported 3 pins;")
        assert holdfast(*line, file).text == (
            "imported 0 pins; 3 actions have one already; 0 lack blobs here\n"
        )
        assert hits(there, "elsewhere") == [True] * 3
        theirs = replace(known, holdfast=holdfast, instance="elsewhere")
        assert theirs.listed() == [0, 1, 2]
        for action in known.actions:
            mine = known.run("show", "--json", action).json()
            assert theirs.run("show", "--json", action).json() == {
                **mine,
                "instance_name": "elsewhere",
            }


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("show", "a" * 64 + "/1"), 1, "has no pin"),
        (("show", "abc"), 2, "write HASH/SIZE"),
        (("replace", "a" * 64 + "/1"), 1, "has no pin"),
        (("replace", "a" * 64 + "/1", "--result", "text"), 2, "text is no ActionResult"),
        (("replace", "a" * 64 + "/1", "--result", "json"), 2, "json is no ActionResult"),
        (("replace", "a" * 64 + "/1", "--result", "absent"), 2, "absent"),
        (("list", "--since", "yesterday"), 2, "is no time"),
        (("list", "--action", "abc"), 2, "write HASH/SIZE"),
        (("import", "text"), 1, "text: it does not begin with 'holdfast pins 1'"),
        (("import", "absent"), 2, "absent"),
        (("import", "failed"), 1, "exit code 3"),
        (("export", "absent/folder/file"), 1, "absent/folder/file"),
        (("list", "--server", "grpc://127.0.0.1:1"), 3, "cannot be reached"),
        (("drop", "--every", "--server", "grpc://127.0.0.1:1"), 3, "cannot be reached"),
    ],
    ids=count(),
)
def test_an_error_is_one_line_that_says_what_and_a_status(
    known: Known, tmp_path: Path, arguments: tuple[str, ...], status: int, told: str
) -> None:
    (tmp_path / "text").write_bytes(b"\xff\xff\xff")
    (tmp_path / "json").write_text('{"output_files": 3}')
    failed = pin_of("", 0, reapi.Digest(hash="a" * 64, size_bytes=1))
    failed.result.exit_code = 3
    write_pins(tmp_path / "failed", failed)
    done = known.holdfast("pins", *arguments, cwd=tmp_path)
    assert done.status == status, done.stderr
    assert told in done.stderr
    assert done.stdout == b""
    assert not (tmp_path / "absent").exists()
    if status != 2:
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("holdfast: ")


def test_an_export_that_fails_leaves_the_file_as_it_was(known: Known, tmp_path: Path) -> None:
    file = tmp_path / "pins"
    file.write_bytes(b"as it was")
    done = known.holdfast("pins", "export", "--server", "grpc://127.0.0.1:1", file)
    assert done.status == 3
    assert file.read_bytes() == b"as it was"
    assert list(tmp_path.glob("*.new")) == []
