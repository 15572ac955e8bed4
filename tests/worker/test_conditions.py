"""Under which conditions an executor runs actions, and what it says of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from protos import remote_execution_pb2 as reapi, worker_pb2
from tests.worker.site import PLAIN, Inputs, Program, Setting, Site, site
from worker.folders import FolderTaken, memory_fault, memory_name
from worker.sandbox import SandboxUnavailable
from worker.seeded import PROPERTY

SHM = Path("/dev/shm")
IN_MEMORY = Setting({"working_tree": "tmpfs"})
INPUTS: Inputs = {"d/b": b"b", "d/a": b"a", "run": Program(b"#!/bin/sh\nls -U d\n")}


async def test_the_environment_is_the_commands_and_what_is_the_same_for_all(
    any_worker: Site,
) -> None:
    result = await any_worker.execute(await any_worker.action(["env"]))
    lines = (await any_worker.stdout(result)).splitlines()
    home = [line for line in lines if line.startswith("HOME=/")]
    assert len(home) == 1
    assert sorted({*lines} - {*home}) == [
        "LC_ALL=C",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PYTHONHASHSEED=0",
        "SOURCE_DATE_EPOCH=946684800",
        "TZ=UTC",
        "ZERO_AR_DATE=1",
    ]
    given = {"A": "1", "PATH": "/usr/bin", "PWD": "/proc/self/cwd", "-x": "a=b", "HOME": "/h"}
    result = await any_worker.execute(await any_worker.action(["env"], environment=given))
    lines = (await any_worker.stdout(result)).splitlines()
    assert {"-x=a=b", "A=1", "PATH=/usr/bin", "PWD=/proc/self/cwd", "HOME=/h"} <= set(lines)


async def test_a_working_tree_in_memory_lists_inputs_in_their_order(tmp_path: Path) -> None:
    many: Inputs = {f"d/{number:02}": b"" for number in range(40)}
    script = "stat -f -c %T . d; /usr/bin/python3 -c 'import os; print(*os.listdir(\"d\"))'"
    async with site(tmp_path / "worker", IN_MEMORY) as worker:
        said = (await worker.stdout(await worker.shell(script, many))).split()
        assert said[:2] == ["tmpfs", "tmpfs"]
        assert said[2:] in (sorted(said[2:]), sorted(said[2:], reverse=True))  # by the kernel
        result = await worker.shell("./run >out", INPUTS, ["out"])
        assert sorted((await worker.files(result))["out"].split()) == [b"a", b"b"]
        assert "tmpfs" in worker.executor.sandbox.switches
        memory = worker.executor.folders.memory
        assert memory is not None
        assert list(memory.iterdir()) == []
        assert worker.left() == []
    assert not memory.exists()


async def test_inputs_in_memory_cannot_change_what_later_actions_get(tmp_path: Path) -> None:
    async with site(tmp_path / "worker", IN_MEMORY) as worker:
        attack = "chmod u+w d/a; echo x >>d/a; rm -f d/a; echo x >d/a; stat -c %h d/b"
        await worker.shell(f"({attack}) || true", INPUTS)
        assert await worker.stdout(await worker.shell("cat d/a", INPUTS)) == "a"


@pytest.mark.parametrize("setting", [IN_MEMORY, Setting()], ids=["tmpfs", "disk"])
async def test_what_a_killed_worker_left_in_memory_is_removed(
    tmp_path: Path, setting: Setting
) -> None:
    path = tmp_path / "worker"
    memory = SHM / memory_name(path.resolve())
    (memory / "left").mkdir(parents=True)
    (memory / "left" / "file").write_text("x")
    async with site(path, setting):
        assert not (memory / "left").exists()
    assert not memory.exists()


async def test_files_that_an_earlier_version_fixed_are_made_anew(tmp_path: Path) -> None:
    stale = tmp_path / "worker" / "fixed" / "passwd"
    stale.parent.mkdir(parents=True)
    stale.write_text("stale:x:65534:65534::/:/bin/sh\n")
    async with site(tmp_path / "worker") as worker:
        assert await worker.stdout(await worker.shell("id -un")) == "nobody\n"


@pytest.mark.parametrize("kind", ["link", "file system", "none"])
async def test_a_folder_that_is_no_memory_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "worker"
    if kind == "link":
        link = SHM / memory_name(path.resolve())
        link.symlink_to(tmp_path)
        try:
            with pytest.raises(FolderTaken, match="no folder of this user's"):
                async with site(path, IN_MEMORY):
                    pass
            async with site(path) as worker:  # one that needs none works all the same
                assert worker.executor.folders.memory is None
                action = await worker.action(["true"])
                await worker.run(action, variation=worker_pb2.Variation(order_seed=1))
        finally:
            link.unlink()
        return
    folder = tmp_path if kind == "file system" else tmp_path / "none"
    setting = Setting({"working_tree": "tmpfs", "memory_path": str(folder)})
    with pytest.raises(SandboxUnavailable, match=r"worker\.memory_path"):
        async with site(path, setting):
            pass


def test_memory_that_programs_cannot_run_from_is_no_use(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from worker.folders import memory_fault; "
        "print(memory_fault(Path(sys.argv[1])))"
    )
    for options, fault in (("noexec,size=1g", "noexec"), ("size=1m", "has room for"), ("", "")):
        command = f'mount -t tmpfs -o "{options}" tmpfs "$1" && exec "$0" -c "$2" "$1"'
        done = subprocess.run(
            ["unshare", "-rm", "/bin/sh", "-c", command, sys.executable, str(tmp_path), script],
            capture_output=True,
            text=True,
            check=True,
        )
        assert fault in done.stdout
        assert bool(fault) == bool(done.stdout.strip())
    assert memory_fault(SHM) == ""


async def test_the_report_says_how_an_action_was_run(tmp_path: Path) -> None:
    async with site(tmp_path / "worker") as worker:
        action = await worker.action(["sh", "-c", "gcc --version >out"], {}, ["out"])
        executed = await worker.run(action)
        out = (await worker.files(executed.result))["out"].decode()
        report = executed.report
        assert report.program == "gcc"
        assert report.program_version == out.splitlines()[0]
        assert list(report.switches) == sorted(worker.executor.sandbox.switches)
        assert report.root.startswith("/b/")
        variation = worker_pb2.Variation(root="/elsewhere/x", order_seed=1)
        varied = await worker.run(action, variation=variation)
        assert varied.report.root == "/elsewhere/x"
        assert worker.left() == []


async def test_without_a_sandbox_the_report_has_the_path_of_the_host(tmp_path: Path) -> None:
    async with site(tmp_path / "worker", PLAIN) as worker:
        executed = await worker.run(await worker.action(["pwd"]))
        assert executed.report.root == (await worker.stdout(executed.result)).strip()
        assert "path" not in executed.report.switches


async def test_randomness_is_seeded_for_compilers_and_on_request(tmp_path: Path) -> None:
    async def twice(arguments: list[str], said: str = "") -> bool:
        command = reapi.Command()
        if said:
            command.platform.properties.add(name=PROPERTY, value=said)
        inputs: Inputs = {"a.c": b"int a(int x) { return x + 1; }\n"}
        action = await worker.action(arguments, inputs, ["a.o"], command=command)
        first, second = [await worker.files(await worker.execute(action)) for _ in range(2)]
        assert first.keys() == {"a.o"}
        return first == second

    async with site(tmp_path / "worker") as worker:
        gcc = ["gcc", "-O2", "-flto", "-c", "a.c"]
        assert await twice(gcc)
        assert not await twice(gcc, "off")
        script = ["sh", "-c", "true && gcc -O2 -flto -c a.c && cp a.o b.o"]
        assert not await twice(script)
        assert await twice(script, "on")


async def test_folders_between_the_root_and_what_is_shown_can_be_entered(tmp_path: Path) -> None:
    shown = tmp_path / "tools" / "deep"
    shown.mkdir(parents=True)
    (shown / "tool").write_text("x")
    setting = Setting(
        {
            "sandbox": {
                "kind": "bubblewrap",
                "read_only": ["/usr", "/bin", "/lib", "/lib64", str(shown)],
            }
        }
    )
    async with site(tmp_path / "worker", setting) as worker:
        result = await worker.shell(f"cat {shown}/tool; cat /etc/passwd | wc -l; id -un")
        assert (await worker.stdout(result)).split() == ["x4", "nobody"]
