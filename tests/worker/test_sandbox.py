from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from protos import remote_execution_pb2 as reapi, worker_pb2
from tests.worker.processes import sleepers
from tests.worker.site import (
    COPYING,
    IS_ROOT,
    OWN_USER,
    PLAIN,
    SETTINGS,
    Inputs,
    Program,
    Setting,
    Site,
    site,
)
from worker.assembly import InputsUnsafe
from worker.bubblewrap import private_folders
from worker.executor import TimedOut
from worker.folders import FolderTaken
from worker.sandbox import SandboxUnavailable

MARK = "holdfast-test-sleeper"


async def test_an_action_gives_its_exit_code_and_its_streams(any_worker: Site) -> None:
    result = await any_worker.shell("echo out; echo err >&2; exit 7")
    assert result.exit_code == 7
    assert await any_worker.stdout(result) == "out\n"
    assert await any_worker.stderr(result) == "err\n"


async def test_a_silent_action_has_no_stream_digests(any_worker: Site) -> None:
    result = await any_worker.shell("true")
    assert not result.HasField("stdout_digest")
    assert not result.HasField("stderr_digest")


async def test_a_signal_gives_128_and_its_number(any_worker: Site) -> None:
    assert (await any_worker.shell("kill -TERM $$")).exit_code == 128 + 15
    assert (await any_worker.shell("kill -KILL $$")).exit_code == 128 + 9


async def test_a_program_that_is_not_there_is_a_result(any_worker: Site) -> None:
    for program in ("no-such-program", "./no/such/program"):
        result = await any_worker.execute(await any_worker.action([program]))
        assert result.exit_code == 127
        assert program in await any_worker.stderr(result)


async def test_a_program_that_cannot_be_executed_is_a_result(any_worker: Site) -> None:
    result = await any_worker.execute(await any_worker.action(["./data"], {"data": b"text"}))
    assert result.exit_code == 126
    assert "./data" in await any_worker.stderr(result)


async def test_a_script_without_a_first_line_runs_as_shells_have_it(any_worker: Site) -> None:
    inputs = {"script": Program(b"echo $1\n")}
    result = await any_worker.execute(await any_worker.action(["./script", "ran"], inputs))
    assert await any_worker.stdout(result) == "ran\n"


async def test_arguments_that_are_too_long_for_the_system_are_a_result(any_worker: Site) -> None:
    result = await any_worker.execute(await any_worker.action(["echo", "x" * 200_000]))
    assert result.exit_code == 126
    assert "rgument list too long" in await any_worker.stderr(result)


async def test_twenty_thousand_arguments_arrive(any_worker: Site) -> None:
    arguments = ["/bin/sh", "-c", 'echo $# "$1" "${20000}"', "sh", "it's", *["a b"] * 19_999]
    result = await any_worker.execute(await any_worker.action(arguments))
    assert await any_worker.stdout(result) == "20000 it's a b\n"


async def test_a_program_whose_name_holds_an_equals_sign_runs(any_worker: Site) -> None:
    inputs = {"a=b": Program(b"#!/bin/sh\necho ran\n")}
    for program in ("./a=b", "a=b"):
        result = await any_worker.execute(
            await any_worker.action([program], inputs, environment={"PATH": ".:/usr/bin:/bin"})
        )
        assert await any_worker.stdout(result) == "ran\n"


async def test_the_environment_has_no_effect_outside_the_sandbox(any_worker: Site) -> None:
    # A library that every dynamic program would load, the sandbox's own programs included.
    source = (
        b"#include <stdio.h>\n#include <unistd.h>\n"
        b"__attribute__((constructor)) static void loaded(void) {\n"
        b'  char name[4096]; snprintf(name, 4096, "%s/by-%d", OUT, (int)getuid());\n'
        b'  FILE *file = fopen(name, "w"); if (file) fclose(file); }\n'
    )
    out = any_worker.path.parent / "loaded"
    out.mkdir()
    out.chmod(0o777)
    built = await any_worker.shell(
        f"gcc -shared -fPIC -DOUT='\"{out}\"' -o lib.so lib.c", {"lib.c": source}, ["lib.so"]
    )
    library = any_worker.path.parent / "lib.so"
    library.write_bytes((await any_worker.files(built))["lib.so"])
    await any_worker.execute(
        await any_worker.action(["/bin/true"], environment={"LD_PRELOAD": str(library)})
    )
    user = any_worker.executor.sandbox.user
    own = set() if user is None else {f"by-{user}"}  # in no sandbox the action itself loads it
    if any_worker.executor.sandbox.__class__.__name__ == "Plain" and user is None:
        own = {f"by-{os.getuid()}"}
    assert {file.name for file in out.iterdir()} <= own


async def test_the_action_sees_no_other_folder_and_no_home(worker: Site) -> None:
    result = await worker.shell(f"ls {worker.path} /root /home /b; ls -a /tmp /run /dev/shm")
    assert f"{worker.path}" in await worker.stderr(result)
    names = (await worker.stdout(result)).split()
    assert len([name for name in names if re.fullmatch("[0-9a-f]{12}", name)]) == 1
    assert "hsperfdata_root" not in names


async def test_two_actions_at_one_time_see_their_own_folder_alone(worker: Site) -> None:
    async with asyncio.TaskGroup() as tasks:
        one = tasks.create_task(worker.shell("echo mine >secret; sleep 1; ls / /b/*", {}, ["one"]))
        two = tasks.create_task(worker.shell("sleep 0.4; ls -R /b /tmp; ps ax", {}, ["two"]))
    assert "secret" in await worker.stdout(one.result())
    assert "secret" not in await worker.stdout(two.result())
    assert "sleep 1" not in await worker.stdout(two.result())


async def test_host_name_user_umask_and_process_numbers_are_fixed(tmp_path: Path) -> None:
    seen = set()
    for name in ("bubblewrap", "own_user"):
        previous = os.umask(0o077)
        try:
            async with site(tmp_path / name, SETTINGS[name]) as worker:
                result = await worker.shell("hostname; id; umask; echo $$; pwd; cat /proc/1/comm")
                seen.add(await worker.stdout(result))
        finally:
            os.umask(previous)
    (text,) = seen
    host, user, mask, pid, *_ = text.splitlines()
    assert (host, mask) == ("holdfast", "0022")
    assert user.startswith("uid=65534(nobody)")
    assert int(pid) < 5


async def test_the_network_is_out_of_reach(worker: Site) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        refused = await worker.execute(await worker.action(["/usr/bin/python3", "-c", probe]))
        assert refused.exit_code == 1
        interfaces = await worker.shell(
            "ls /sys/class/net 2>/dev/null; cat /proc/net/dev | tail -n +3"
        )
        assert set(re.findall(r"(\w+):", await worker.stdout(interfaces))) <= {"lo"}


async def test_the_network_can_be_allowed(tmp_path: Path) -> None:
    setting = Setting({"sandbox": {"kind": "bubblewrap", "network": True}})
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server, site(tmp_path, setting) as worker:
        port = server.sockets[0].getsockname()[1]
        probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        result = await worker.execute(await worker.action(["/usr/bin/python3", "-c", probe]))
        assert result.exit_code == 0


@pytest.mark.parametrize("name", ["bubblewrap", "own_user"])
async def test_the_host_cannot_be_written_to(tmp_path: Path, name: str) -> None:
    # Opened for writing, and not written to: the kernel's settings would take it in earnest.
    files = "/usr/x /etc/x /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname"
    async with site(tmp_path, SETTINGS[name]) as worker:
        result = await worker.shell(
            f"for f in /x /b/x {files} /proc/sysrq-trigger /proc/irq/default_smp_affinity; do"
            " (: >>$f) 2>/dev/null && echo $f; done; touch /tmp/a /var/tmp/a /run/a /dev/shm/a"
        )
        assert await worker.stdout(result) == ""
        assert result.exit_code == 0


async def test_folders_that_variables_name_are_there_and_empty(worker: Site) -> None:
    environment = {"HOME": "/home/somebody", "TMPDIR": "/tmp/deep/er", "TEMP": "/usr/lib"}
    result = await worker.shell(
        'touch "$HOME/a" "$TMPDIR/b" && ls "$HOME" "$TMPDIR"', environment=environment
    )
    assert result.exit_code == 0


def test_no_folder_that_a_variable_names_hides_another() -> None:
    visible = ["/usr", "/etc", "/opt"]
    for taken in (
        "/",
        "/usr",
        "/usr/share/x",
        "/proc/x",
        "/b/0123",
        "relative",
        "",
        "/tmp",
        "/var",
    ):
        assert private_folders({"HOME": taken}, visible) == []
    given = {"HOME": "/home/x/", "TMPDIR": "/tmp/x"}
    assert private_folders(given, visible) == ["/home/x", "/tmp/x"]


@pytest.mark.parametrize("name", SETTINGS)
async def test_a_time_out_kills_every_descendant_and_keeps_the_output(
    tmp_path: Path, name: str
) -> None:
    mark = f"{MARK}-{name}"
    # One in the background, one in a session of its own, one whose parents are gone.
    script = (
        f"echo before; python3 -c 'import time; time.sleep(300)' {mark} & "
        f"setsid python3 -c 'import time; time.sleep(300)' {mark} & "
        f"(setsid sh -c 'python3 -c \"import time; time.sleep(300)\" {mark} & ' & ) ; "
        f"sleep 1; echo kept >out; sleep 300"
    )
    async with site(tmp_path / "worker", SETTINGS[name]) as worker:
        action = await worker.action(["/bin/sh", "-c", script], {}, ["out"])
        # REAPI rule: a time-out may come with the output there is
        with pytest.raises(TimedOut, match="3 seconds") as stopped:
            await worker.execute(action, timeout_seconds=3)
        assert sleepers(mark) == []
        assert await worker.stdout(stopped.value.result) == "before\n"
        assert await worker.files(stopped.value.result) == {"out": b"kept\n"}
        assert stopped.value.result.execution_metadata.worker
        assert worker.left() == []


@pytest.mark.parametrize("name", SETTINGS)
async def test_what_an_action_leaves_running_ends_with_it(tmp_path: Path, name: str) -> None:
    mark = f"{MARK}-left-{name}"
    script = f"setsid python3 -c 'import time; time.sleep(300)' {mark} & sleep 0.5; echo done"
    async with site(tmp_path / "worker", SETTINGS[name]) as worker:
        result = await worker.shell(script)
        assert await worker.stdout(result) == "done\n"
        assert sleepers(mark) == []


@pytest.mark.parametrize("name", SETTINGS)
async def test_cancelling_kills_every_process_and_removes_every_file(
    tmp_path: Path, name: str
) -> None:
    mark = f"{MARK}-cancelled-{name}"
    script = f"setsid python3 -c 'import time; time.sleep(300)' {mark} & touch x; sleep 300"
    async with site(tmp_path / "worker", SETTINGS[name]) as worker:
        running = asyncio.create_task(worker.shell(script))
        while not sleepers(mark):  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.sleep(0)
        running.cancel()  # an impatient caller changes nothing
        with pytest.raises(asyncio.CancelledError):
            await running
        assert sleepers(mark) == []
        assert worker.left() == []


async def test_an_action_that_uses_the_processor_is_seen_to(any_worker: Site) -> None:
    result = await any_worker.shell(
        "python3 -c 'x = bytearray(60 << 20); s = sum(range(12_000_000))'"
    )
    usage = worker_pb2.ResourceUsage()
    assert result.execution_metadata.auxiliary_metadata[0].Unpack(usage)
    assert usage.user_time.ToMilliseconds() > 50
    assert usage.max_rss_bytes > 60 << 20
    assert usage.minor_faults > 1000


async def test_much_output_is_cut_and_says_so(tmp_path: Path) -> None:
    async with site(tmp_path, Setting({"max_stdio_bytes": 200_000})) as worker:
        result = await worker.shell("head -c 10000000 /dev/zero | tr '\\0' x; echo err >&2")
        text = await worker.stdout(result)
        assert text.startswith("x" * 200_000 + "\n[holdfast: 9800000 more bytes were dropped")
        assert await worker.stderr(result) == "err\n"
        exact = await worker.shell("head -c 200000 /dev/zero")
        assert exact.stdout_digest.size_bytes == 200_000


async def test_bubblewrap_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    setting = Setting({"sandbox": {"kind": "bubblewrap", "program": "no-such-bwrap"}})
    with pytest.raises(SandboxUnavailable, match=r"no-such-bwrap.*worker\.sandbox\.kind = .none."):
        async with site(tmp_path, setting):
            pass


async def test_bubblewrap_that_fails_is_no_result_of_the_action(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text(
        "#!/bin/sh\necho bwrap: no permission to create new name space >&2; exit 1\n"
    )
    program.chmod(0o755)
    setting = Setting({"sandbox": {"kind": "bubblewrap", "program": str(program)}})
    with pytest.raises(SandboxUnavailable, match=r"(?s)new name space.*given up.*network"):
        async with site(tmp_path / "worker", setting):
            pass


async def test_one_folder_serves_one_worker(tmp_path: Path) -> None:
    async with site(tmp_path):
        with pytest.raises(FolderTaken, match=r"worker\.path"):
            async with site(tmp_path):
                pass


async def test_the_same_action_has_one_path_and_others_have_others(worker: Site) -> None:
    async def path(outputs: list[str], directory: str = "") -> str:
        result = await worker.shell(
            "cd -P .; pwd", {"d": None}, outputs, command=reapi.Command(working_directory=directory)
        )
        return (await worker.stdout(result)).strip()

    assert await path(["a", "b"]) == await path(["a", "b"])
    assert re.fullmatch("/b/[0-9a-f]{12}", await path(["a"]))
    assert await path(["a"]) != await path(["b"])
    assert await path(["d/a"]) + "/d" == await path(["a"], "d")


ATTACK = """
chmod u+w input 2>/dev/null; chmod 777 input 2>/dev/null
echo changed >input || true
echo changed >>run || true
python3 -c 'import os; os.truncate("input", 0)' || true
touch -d 2001-01-01 input || true
rm -f input; echo other >input; cat input
"""


@pytest.mark.parametrize("name", ["bubblewrap", "copying", "own_user", "plain"])
async def test_an_action_cannot_change_what_later_actions_get(tmp_path: Path, name: str) -> None:
    setting = SETTINGS[name]
    inputs: Inputs = {"input": b"original\n", "run": Program(b"#!/bin/sh\necho original\n")}
    async with site(tmp_path / "worker", setting) as worker:
        attacked = await worker.shell(ATTACK, inputs)
        assert await worker.stdout(attacked) == "other\n"
        after = await worker.shell("cat input; ./run; stat -c %Y input run", inputs)
        assert await worker.stdout(after) == "original\noriginal\n946684800\n946684800\n"
        for file in (worker.path / "files" / "sha256").glob("*/*"):
            assert stat.S_IMODE(file.stat().st_mode) in {0o444, 0o555}
            assert file.stat().st_nlink == 1


async def test_hard_links_are_used_where_they_are_safe_alone(tmp_path: Path) -> None:
    for name, setting, links in (
        ("auto", Setting({"inputs": "auto"}), "2" if IS_ROOT else "1"),
        ("copy", COPYING, "1"),
        ("own", OWN_USER, "1"),
    ):
        async with site(tmp_path / name, setting) as worker:
            result = await worker.shell("stat -c %h input", {"input": b"data"})
            assert await worker.stdout(result) == f"{links}\n"


async def test_hard_links_that_are_not_safe_are_refused(tmp_path: Path) -> None:
    # Nobody but the owner reaches tmp_path, so that actions cannot run as another user there.
    os.chmod(tmp_path, 0o700)  # noqa: PTH101
    setting = Setting({**PLAIN.worker, "inputs": "hardlink"})
    with pytest.raises(InputsUnsafe, match=r"worker\.inputs"):
        async with site(tmp_path / "worker", setting):
            pass


async def test_without_a_sandbox_a_worker_that_is_root_uses_another_user() -> None:
    with TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101
        async with site(Path(folder, "worker"), PLAIN) as worker:
            script = "id -u; cat input; stat -c %h input; (echo x >input) 2>&1 | wc -l; echo y >out"
            result = await worker.shell(script, {"input": b"data\n"}, ["out"])
            user = ["65534", "data", "2", "1"] if IS_ROOT else [str(os.getuid()), "data", "1", "1"]
            assert (await worker.stdout(result)).split() == user
            assert await worker.files(result) == {"out": b"y\n"}
            assert worker.left() == []
