from __future__ import annotations

from pathlib import Path

import pytest

from tests.re_cli.command import Holdfast


def action_of(stderr: str) -> str:
    """Return the digest that `holdfast execute` names on stderr."""
    return stderr.split("action ")[1].split(maxsplit=1)[0].rstrip(",")


def test_a_command_runs_with_inputs_and_its_outputs_come_back(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.txt").write_text("a\n")
    (tmp_path / "other").write_text("b\n")
    script = (
        "cat src/a.txt in/b; echo told >&2; mkdir -p out/dir; cp in/b out/file; cp in/b out/dir"
    )
    done = holdfast(
        "execute",
        *("--input", "src"),
        *("--input", f"in/b={tmp_path / 'other'}"),
        *("--output", "out/file", "--output", "out/dir", "--output", "missing"),
        *("--env", "WHO=me", "--platform", "OSFamily=linux", "--timeout", "60"),
        *("-d", str(tmp_path / "got")),
        *("--", "sh", "-c", f'test "$WHO" = me && {script}'),
        cwd=tmp_path,
    )
    assert done.status == 0, done.stderr
    assert done.stdout == b"a\nb\n"
    assert done.stderr.startswith("told\n")
    assert (tmp_path / "got" / "out" / "file").read_text() == "b\n"
    assert (tmp_path / "got" / "out" / "dir" / "b").read_text() == "b\n"


def test_the_status_is_the_commands_own(holdfast: Holdfast) -> None:
    for status in (0, 1, 7, 255):
        assert holdfast("execute", "sh", "-c", f"exit {status}").status == status


def test_a_second_run_is_answered_from_the_cache_unless_told_otherwise(
    holdfast: Holdfast,
) -> None:
    line = ("sh", "-c", "date +%N; : once")
    first, second = holdfast("execute", *line), holdfast("execute", *line)
    assert "cached result of action" not in first.stderr
    assert "cached result of action" in second.stderr
    assert first.stdout == second.stdout
    fresh = holdfast("execute", "--no-cache", *line)
    assert "cached result" not in fresh.stderr
    assert fresh.stdout != first.stdout
    for _ in range(2):
        never = holdfast("execute", "--do-not-cache", *line)
        assert "cached result" not in never.stderr


def test_outputs_are_relative_to_the_working_directory(holdfast: Holdfast, tmp_path: Path) -> None:
    # REAPI rule: output paths are relative to the working directory.
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "keep").touch()
    done = holdfast(
        "execute",
        *("--input", "sub", "--workdir", "sub", "--output", "made", "-d", "got"),
        *("sh", "-c", "pwd | grep -q /sub$ && echo here > made"),
        cwd=tmp_path,
    )
    assert done.status == 0, done.stderr
    assert (tmp_path / "got" / "made").read_text() == "here\n"


def test_long_output_comes_whole(holdfast: Holdfast) -> None:
    done = holdfast("execute", "sh", "-c", "seq 1 300000")
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 300_001))


def test_a_program_gets_the_result_as_json(holdfast: Holdfast) -> None:
    told = holdfast("execute", "--json", "sh", "-c", "echo hi; exit 3")
    assert told.status == 3
    said = told.json()
    assert (said["stdout"], said["stderr"]) == ("hi\n", "")
    assert isinstance(said["result"], dict)
    assert said["result"]["exit_code"] == 3


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--platform", "OSFamily=plan9", "true"), 1, "plan9"),
        (("--timeout", "1", "sh", "-c", "echo begun; sleep 50"), 1, "holdfast: "),
        (("--timeout", "1000000000", "true"), 1, "timeout"),
        (("/no/such/program",), 127, "/no/such/program"),
        (("--input", "/etc/hostname", "true"), 2, "or AT=PATH"),
        (("--input", "absent", "true"), 1, "absent"),
        (("--env", "novalue", "true"), 2, "write NAME=VALUE"),
        (("--workdir", "../x", "true"), 2, "leads out"),
        ((), 2, "Missing argument"),
    ],
)
def test_what_cannot_be_run_is_told_with_the_reason(
    holdfast: Holdfast, tmp_path: Path, arguments: tuple[str, ...], status: int, told: str
) -> None:
    done = holdfast("execute", *arguments, cwd=tmp_path)
    assert done.status == status, done.stderr
    assert told in done.stderr


def test_output_before_a_time_out_is_shown(holdfast: Holdfast) -> None:
    done = holdfast("execute", "--timeout", "2", "sh", "-c", "echo begun; sleep 50")
    assert done.status == 1
    assert done.stdout == b"begun\n"


def test_an_action_is_shown_with_all_that_belongs_to_it(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "input[1]").write_text("in\n")
    done = holdfast(
        "execute",
        *(
            "--input",
            "input[1]",
            "--output",
            "out",
            "--env",
            "A=[b]",
            "--platform",
            "OSFamily=linux",
        ),
        *("sh", "-c", "cp input* out"),
        cwd=tmp_path,
    )
    assert done.status == 0, done.stderr
    action = action_of(done.stderr)
    shown = holdfast("action", "show", action)
    assert shown.status == 0, shown.stderr
    for part in (action, "sh -c 'cp input* out'", "A=[b]", "input[1]", "OSFamily = linux", "out",
                 "exit status: 0", "pin since", "revision: 1"):  # fmt: skip
        assert part in shown.text
    told = holdfast("action", "show", "--json", action).json()
    assert told["digest"] == action
    assert told["missing"] == []
    assert isinstance(told["inputs"], list)
    assert [each["path"] for each in told["inputs"]] == ["input[1]"]
    assert isinstance(told["pin"], dict)
    assert told["pin"]["revision"] == 1
    assert told["result"]


def test_what_is_no_action_is_told_as_such(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no action at all")
    done = holdfast("action", "show", holdfast.put(tmp_path / "text"))
    assert done.status == 1
    assert "is no Action" in done.stderr


def test_status_tells_of_store_workers_and_pins(holdfast: Holdfast) -> None:
    assert holdfast("execute", "true").status == 0
    shown = holdfast("status")
    assert shown.status == 0
    for part in ("REAPI", "SHA256", "execution", "store", "pins", "OSFamily=linux"):
        assert part in shown.text
    told = holdfast("status", "--json").json()
    status = told["status"]
    assert isinstance(status, dict)
    assert len(status["workers"]) == 1
    assert status["store"]["blobs"] > 0


def test_status_tells_what_compression_saves(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a line of text that is compressed well\n" * 1000)
    assert holdfast("put", tmp_path / "text").status == 0
    assert "uncompressed" in holdfast("status").text
    status = holdfast("status", "--json").json()["status"]
    assert isinstance(status, dict)
    assert status["store"]["plain_bytes"] > status["store"]["bytes"]
