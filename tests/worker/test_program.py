from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from re_config.schema import Bubblewrap, Worker
from tests.worker.cell import Cell, cell
from tests.worker.test_seeded import loaded
from worker import toolchain
from worker.program import Versions, program_of

PATH = "/usr/local/bin:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["/usr/bin/gcc", "-c", "a.c"], "gcc"),
        (["external/tools/wrapper.sh"], "wrapper.sh"),
        (["env", "gcc"], "gcc"),
        (["/usr/bin/env", "-i", "-u", "X", "--chdir", "d", "A=b", "C=", "gcc", "-c"], "gcc"),
        (["env", "--", "A=1", "/opt/bin/rustc"], "rustc"),
        (["env", "-S", "gcc -c"], "env"),
        (["env"], "env"),
        (["sh", "cmd.sh", "gcc"], "sh"),
        (["sh", "-c", "gcc -c a.c"], "gcc"),
        (["/bin/bash", "-ec", "set -e; cd d && A=b exec env B=c g++ -c 'a b.c' >log 2>&1"], "g++"),
        (["bash", "--norc", "-c", "source setup.sh; zip -r out.zip d"], "zip"),
        (["sh", "-c", "gcc \\\n -c \\\n a.c"], "gcc"),
        (["sh", "-c", "sh -c 'sh -c \"clang a.c\"'"], "clang"),
        (["sh", "-c", "gcc a.c && gcc b.c"], "sh"),
        (["sh", "-c", "gcc a.c | tee log"], "sh"),
        (["sh", "-c", "for f in *; do gcc $f; done"], "sh"),
        (["sh", "-c", "if true; then gcc a.c; fi"], "sh"),
        (["sh", "-c", "$CC -c a.c"], "sh"),
        (["sh", "-c", "echo 'no end"], "sh"),
        (["sh", "-c", ""], "sh"),
        (["sh", "-c", "#" * 100_000], "sh"),
        (["sh"], "sh"),
        (["sh", "-c"], "sh"),
        ([], ""),
    ],
    ids=str,
)
def test_the_program_is_seen_through_env_and_plain_shell_commands(
    arguments: list[str], program: str
) -> None:
    assert program_of(arguments) == program


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def versions(made: Cell) -> Versions:
    return Versions(made.sandbox, made.folders, toolchain.visible(made.config))


async def test_known_programs_say_their_version(tmp_path: Path) -> None:
    async with cell(tmp_path) as made:
        asked = versions(made)
        for given, option in (
            (["gcc"], "--version"),
            (["/usr/bin/zip"], "--version"),
            (["java"], "-version"),
            (["sh", "-c", "python3 x.py"], "--version"),
        ):
            expected = first_line("/usr/bin/" + program_of(given), option)
            assert await asked.of(await loaded(given), PATH) == expected
        assert list(made.folders.actions.iterdir()) == []


async def test_programs_of_the_action_and_unknown_ones_are_not_run(tmp_path: Path) -> None:
    async with cell(tmp_path) as made:
        asked = versions(made)
        for given in (["./gcc"], ["tools/gcc"], ["sleep"], ["rm"], ["/no/gcc"], ["no-such-gcc"]):
            assert await asked.of(await loaded(given), PATH) == ""
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        (hidden / "gcc").write_text("#!/bin/sh\necho hidden\n")
        (hidden / "gcc").chmod(0o755)
        assert await asked.of(await loaded([str(hidden / "gcc")]), PATH) == ""
        assert await asked.of(await loaded(["gcc"]), str(hidden)) == ""


async def test_a_version_is_asked_for_once_until_the_program_changes(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    tool = tools / "rustc"

    def install(version: str) -> None:
        tool.write_text(
            f"#!/bin/sh\nhead -c 8 /dev/urandom | od -An -tx8 | tr '\\n' ' '; echo {version}\n"
        )
        tool.chmod(0o755)

    install("1.0")
    shown = {"sandbox": {"kind": "bubblewrap", "read_only": [*Bubblewrap().read_only, str(tools)]}}
    async with cell(tmp_path / "worker", shown) as made:
        asked, action = versions(made), await loaded(["rustc"])
        found = await asyncio.gather(*(asked.of(action, str(tools) + ":" + PATH) for _ in range(8)))
        assert len(set(found)) == 1
        install("1.0.1")
        assert (await asked.of(action, str(tools) + ":" + PATH)).endswith("1.0.1")
        tool.write_text("#!/bin/sh\nexit 3\n")
        assert await asked.of(action, str(tools) + ":" + PATH) == ""


def test_a_toolchain_has_one_digest_until_a_program_changes(tmp_path: Path) -> None:
    config = Worker(
        env_path=f"/usr/bin:{tmp_path}", sandbox=Bubblewrap(read_only=("/usr", str(tmp_path)))
    )
    before = toolchain.digest(config)
    assert before == toolchain.digest(config)
    (tmp_path / "text").write_text("no program")
    assert before == toolchain.digest(config)
    (tmp_path / "gcc").write_text("#!/bin/sh\n")
    (tmp_path / "gcc").chmod(0o755)
    changed = toolchain.digest(config)
    (tmp_path / "gcc").touch()
    assert changed == toolchain.digest(config) != before
    (tmp_path / "gcc").write_text("#!/bin/bash\n")
    assert toolchain.digest(config) not in {before, changed}
    (tmp_path / "link").symlink_to("gcc")
    assert toolchain.digest(config) not in {before, changed}


def test_programs_that_actions_do_not_see_do_not_count(tmp_path: Path) -> None:
    config = Worker(env_path=f"/usr/bin:{tmp_path}")
    before = toolchain.digest(config)
    (tmp_path / "gcc").write_text("#!/bin/sh\n")
    (tmp_path / "gcc").chmod(0o755)
    assert toolchain.digest(config) == before


def test_a_toolchain_can_be_named() -> None:
    assert toolchain.digest(Worker(toolchain="image-7")) == "image-7"
