from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from re_cli.main import COMMANDS
from re_cli.output import bytes_text
from re_config.load import load
from re_config.schema import Config
from tests.re_cli.command import Holdfast

holdfast = Holdfast("127.0.0.1:1")


def test_the_help_lists_every_command_and_the_exit_statuses() -> None:
    done = holdfast("--help")
    assert done.status == 0
    assert "Exit status" in done.text
    for command in COMMANDS:
        assert f"\n  {command} " in done.text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_says_its_exit_statuses_or_lists_what_is_below(command: str) -> None:
    done = holdfast(command, "--help")
    assert done.status == 0
    assert "Exit status" in done.text or "Commands:" in done.text


def test_the_version_is_told() -> None:
    assert holdfast("--version").text.startswith("holdfast 0.")


def test_an_unknown_command_is_wrong_usage() -> None:
    assert holdfast("nonsense").status == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_each_shell_is_printed(shell: str) -> None:
    done = holdfast("completion", shell)
    assert done.status == 0
    assert "_HOLDFAST_COMPLETE" in done.text


def test_bash_takes_the_completion() -> None:
    script = holdfast("completion", "bash").text
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_a_configuration_is_checked_without_starting_anything(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text("store.max_bytes = 1000000\n")
    assert holdfast("config", "check", file).text == f"{file}: ok\n"
    file.write_text("store.max_bytes = -1\n")
    done = holdfast("config", "check", file)
    assert done.status == 2
    assert done.stderr.startswith(f"holdfast: {file}: Expected `int` >= 1 - at `$.store.max_bytes`")
    assert holdfast("config", "check", tmp_path / "absent").status == 2


def test_the_configuration_in_effect_is_one_that_can_be_loaded(tmp_path: Path) -> None:
    file = tmp_path / "shown.toml"
    file.write_bytes(holdfast("config", "show").stdout)
    assert load(file) == Config()
    file.write_text("[instances.main]\n")
    again = tmp_path / "again.toml"
    again.write_bytes(holdfast("config", "show", "--config", file).stdout)
    assert load(again) == load(file)


def test_a_server_that_is_not_there_is_status_3() -> None:
    for arguments in (
        ("status",),
        ("gc",),
        ("execute", "true"),
        ("action", "show", "a" * 64 + "/1"),
    ):
        done = holdfast(*arguments)
        assert done.status == 3
        assert "is `holdfast serve` running there?" in done.stderr


def test_sizes_are_written_for_people() -> None:
    assert [bytes_text(size) for size in (0, 1023, 1536, 5 << 30, 3 << 50)] == [
        "0 bytes",
        "1023 bytes",
        "1.5 KiB",
        "5.0 GiB",
        "3072.0 TiB",
    ]
