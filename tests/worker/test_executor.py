from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.tree import InvalidMessage, MissingInputs
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi
from tests.worker.site import Inputs, Link, Program, Setting, Site, site
from worker.folders import remove


def absent(data: bytes) -> reapi.Digest:
    return digest_to(Digest.of(data))


async def test_an_action_that_is_missing_is_named(worker: Site) -> None:
    action = Digest.of(b"never uploaded")
    with pytest.raises(MissingInputs) as missing:
        await worker.execute(action)
    assert missing.value.digests == [action]


async def test_everything_that_is_missing_is_named_at_once(worker: Site) -> None:
    # REAPI rule: FAILED_PRECONDITION lists all missing blobs
    directory = reapi.Directory()
    directory.files.add(name="a", digest=absent(b"a"))
    directory.files.add(name="b", digest=absent(b"b"))
    directory.directories.add(name="c", digest=absent(b"c"))
    root = await worker.put(directory.SerializeToString())
    action = reapi.Action(command_digest=absent(b"command"), input_root_digest=digest_to(root))
    with pytest.raises(MissingInputs) as missing:
        await worker.execute(await worker.put(action.SerializeToString()))
    expected = {Digest.of(data) for data in (b"a", b"b", b"c", b"command")}
    assert set(missing.value.digests) == expected
    assert worker.left() == []


async def test_what_is_no_action_or_command_is_refused(worker: Site) -> None:
    root = digest_to(await worker.tree({}))
    garbage = await worker.put(b"\xff\xff")
    with pytest.raises(InvalidMessage, match="not of type Action"):
        await worker.execute(garbage)
    for action, message in (
        (reapi.Action(command_digest=digest_to(garbage), input_root_digest=root), "type Command"),
        (reapi.Action(command_digest=digest_to(garbage)), "no input_root_digest"),
        (reapi.Action(command_digest=reapi.Digest(hash="x"), input_root_digest=root), "hash"),
        (reapi.Action(command_digest=digest_to(garbage), input_root_digest=absent(b"")), "type"),
    ):
        with pytest.raises(InvalidMessage, match=message):
            await worker.execute(await worker.put(action.SerializeToString()))


async def test_commands_that_nobody_can_run_are_refused(worker: Site) -> None:
    variable = reapi.Command.EnvironmentVariable
    for command, message in (
        (reapi.Command(), "no program"),
        (reapi.Command(arguments=[""]), "no program"),
        (reapi.Command(arguments=["a", "b\0"]), "zero byte"),
        (
            reapi.Command(arguments=["a"], environment_variables=[variable(name="")]),
            "cannot be set",
        ),
        (
            reapi.Command(arguments=["a"], environment_variables=[variable(name="A=B")]),
            "'A=B' cannot be set",
        ),
        (
            reapi.Command(arguments=["a"], environment_variables=[variable(name="A")] * 2),
            "stands twice",
        ),
        (reapi.Command(arguments=["a"], working_directory="no/such"), "'no/such' is no directory"),
    ):
        with pytest.raises(InvalidMessage, match=message):
            await worker.execute(await worker.action([], command=command))


async def test_a_message_over_the_bound_is_refused_with_the_setting(tmp_path: Path) -> None:
    async with site(tmp_path, Setting(limits={"message_blob_bytes": 1000})) as worker:
        with pytest.raises(InvalidMessage, match=r"limits\.message_blob_bytes 1000"):
            await worker.execute(await worker.action(["x" * 2000]))


INPUTS: Inputs = {
    "file": b"file\n",
    "program": Program(b"#!/bin/sh\necho program\n"),
    "empty/er": None,
    "link": Link("file"),
    "dangling": Link("nowhere"),
    "absolute": Link("/no/such"),
    "deep/er/and/deeper/file": b"deep\n",
    "ä b\n'\"": b"odd\n",
}


async def test_inputs_arrive_as_they_are(any_worker: Site) -> None:
    script = (
        "cat file link deep/er/and/deeper/file ä*; ./program;"
        " readlink dangling absolute; find . -type d -empty"
    )
    result = await any_worker.shell(script, INPUTS)
    text = await any_worker.stdout(result)
    assert text == "file\nfile\ndeep\nodd\nprogram\nnowhere\n/no/such\n./empty/er\n"


async def test_times_and_modes_of_inputs_are_fixed(any_worker: Site) -> None:
    result = await any_worker.shell("find . -printf '%T@ %y %m\\n' | sort -u", INPUTS, ["new/er/x"])
    time = "946684800.0000000000"
    assert (await any_worker.stdout(result)).splitlines() == [
        f"{time} d 755",
        f"{time} f 444",
        f"{time} f 555",
        f"{time} l 777",
    ]


async def test_shared_directories_are_made_each_time(worker: Site) -> None:
    below: Inputs = {f"{one}/{two}/x": b"same" for one in "abc" for two in "def"}
    result = await worker.shell("find . -type f | wc -l", below)
    assert await worker.stdout(result) == "9\n"


async def test_twenty_thousand_files_are_made(any_worker: Site) -> None:
    inputs = {f"d{number % 100}/e{number % 10}/f{number}": b"x" for number in range(20_000)}
    result = await any_worker.shell("find . -type f | wc -l", inputs)
    assert await any_worker.stdout(result) == "20000\n"
    assert any_worker.left() == []


async def test_a_working_directory_is_where_the_program_runs(any_worker: Site) -> None:
    # REAPI rule: a program with a slash is relative to the working directory
    inputs: Inputs = {"a/b/run": Program(b'#!/bin/sh\nbasename "$PWD"\n')}
    command = reapi.Command(working_directory="a/b")
    result = await any_worker.execute(await any_worker.action(["./run"], inputs, command=command))
    assert await any_worker.stdout(result) == "b\n"


async def test_metadata_says_who_and_when(worker: Site) -> None:
    before = time.time_ns()
    result = await worker.execute(await worker.action(["sleep", "0.2"]))
    made = result.execution_metadata
    times = [
        made.worker_start_timestamp,
        made.input_fetch_start_timestamp,
        made.input_fetch_completed_timestamp,
        made.execution_start_timestamp,
        made.execution_completed_timestamp,
        made.output_upload_start_timestamp,
        made.output_upload_completed_timestamp,
        made.worker_completed_timestamp,
    ]
    order = [before, *(stamp.ToNanoseconds() for stamp in times), time.time_ns()]
    assert order == sorted(order)
    assert made.worker == worker.executor.settings.name
    assert made.virtual_execution_duration.ToMilliseconds() >= 200


async def test_equal_actions_give_equal_results(worker: Site) -> None:
    script = "pwd; ls -lA --time-style=full-iso; gcc -g -c a.c -o a.o"
    results = []
    for _ in range(2):
        result = await worker.shell(script, {"a.c": b"int main(void) { return 0; }\n"}, ["a.o"])
        result.ClearField("execution_metadata")
        results.append(result)
    assert results[0] == results[1]


async def test_many_actions_run_at_one_time(worker: Site) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(worker.shell(f"cat in; echo {number} >out", {"in": b"x"}, ["out"]))
            for number in range(20)
        ]
    for number, task in enumerate(running):
        assert await worker.files(task.result()) == {"out": b"%d\n" % number}
    assert worker.left() == []


def found(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


async def test_what_a_killed_worker_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from tests.worker.site import site\n"
        "async def main():\n"
        f"    async with site(pathlib.Path({str(tmp_path)!r})) as worker:\n"
        "        await worker.shell('mkdir d; touch d/x; chmod 0 d; sleep 300', {'in': b'in'})\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script]
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    while not found(tmp_path, "actions/*/root/d"):  # noqa: ASYNC110 - another process's doing
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert found(tmp_path, "actions/*")
    async with site(tmp_path) as worker:
        assert worker.left() == []
        result = await worker.shell("cat in", {"in": b"in"})
        assert await worker.stdout(result) == "in"


def test_a_full_disk_is_said_and_harms_nothing() -> None:
    script = """
import asyncio, pathlib
from google.rpc.code_pb2 import Code
from cas.store import StoreFull
from re_client.status import to_status
from tests.worker.site import PLAIN, site
async def fails(work):
    try:
        await work
    except StoreFull as error:
        assert to_status(error).code == Code.RESOURCE_EXHAUSTED
        assert "worker.path" in str(error), error
    else:
        raise AssertionError("there was room")
async def main():
    async with site(pathlib.Path("/mnt/worker"), PLAIN) as worker:
        await fails(worker.shell("true", {"big": bytes(12_000_000)}))
        await fails(worker.shell("head -c 12000000 /dev/zero"))
        result = await worker.shell("head -c 12000000 /dev/zero >x", {}, ["x"])
        assert result.exit_code == 1
        assert b"No space left" in await worker.blob(result.stderr_digest)
        result = await worker.shell("cat small", {"small": b"fits"})
        assert await worker.stdout(result) == "fits"
        assert worker.left() == []
asyncio.run(main())
"""
    sandbox = ["bwrap", "--dev-bind", "/", "/", "--size", "10000000", "--tmpfs", "/mnt", "--"]
    ended = subprocess.run(
        [*sandbox, sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_folders_are_removed_however_deep_and_closed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").touch()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (top / "link").symlink_to(outside)
    start = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for number in range(1500):
            name = "x" * 200 if number % 7 else "y"
            Path(name).mkdir()
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY))
            os.chdir(name)
    finally:
        os.fchdir(start)
        os.close(start)
    (top / "closed" / "er").mkdir(parents=True)
    (top / "closed").chmod(0)
    remove(top)
    assert not top.exists()
    assert (outside / "kept").exists()
