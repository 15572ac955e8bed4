"""What an action tries that would be its own way out, or another's way in."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import stat
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cas.tree import InvalidMessage
from tests.worker.site import BUBBLEWRAP, OWN_USER, Link, Program, Site, site

pytestmark = pytest.mark.asyncio(loop_scope="module")

SANDBOXES = {"as_root": BUBBLEWRAP, "own_user": OWN_USER}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SANDBOXES)
async def sandboxed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """One worker for all tests, since a start costs more than most of them."""
    path = tmp_path_factory.mktemp("escapes") / "worker"
    async with site(path, SANDBOXES[request.param]) as made:
        yield made


# Set-id bits, devices, hard links


async def test_set_id_bits_never_come_back(sandboxed: Site) -> None:
    made = await sandboxed.shell("cp /bin/true out; chmod 6755 out", {}, ["out"])
    (out,) = made.output_files
    assert out.is_executable
    program = Program(await sandboxed.blob(out.digest))
    seen = await sandboxed.shell("stat -c %a in", {"in": program})
    assert int(await sandboxed.stdout(seen), 8) & (stat.S_ISUID | stat.S_ISGID) == 0


async def test_no_program_of_the_host_gives_rights(sandboxed: Site) -> None:
    result = await sandboxed.shell("grep NoNewPrivs /proc/self/status; grep ' /usr ' /proc/mounts")
    text = await sandboxed.stdout(result)
    assert text.split()[1] == "1"
    assert "nosuid" in text


async def test_capabilities_are_none(sandboxed: Site) -> None:
    result = await sandboxed.shell("grep -E 'Cap(Prm|Eff|Amb|Bnd)' /proc/self/status")
    lines = dict(line.split() for line in (await sandboxed.stdout(result)).splitlines())
    assert int(lines["CapEff:"], 16) == int(lines["CapPrm:"], 16) == int(lines["CapAmb:"], 16) == 0


@pytest.mark.parametrize("node", ["c 1 3", "b 254 0", "c 1 1"])
async def test_device_nodes_cannot_be_made(sandboxed: Site, node: str) -> None:
    result = await sandboxed.shell(f"mknod out {node}", {}, ["out"])
    assert result.exit_code != 0
    assert not result.output_files


async def test_no_disk_and_no_memory_of_the_host_is_there(sandboxed: Site) -> None:
    result = await sandboxed.shell("ls /dev; find / -xdev -type b 2>/dev/null; cat /proc/kcore")
    assert result.exit_code != 0
    names = set((await sandboxed.stdout(result)).split())
    assert not names & {"mem", "kmem", "port", "sda", "vda", "kvm", "fuse"}


@pytest.mark.parametrize("file", ["/etc/passwd", "/usr/bin/env"])
async def test_hard_links_to_files_of_the_host_cannot_be_made(sandboxed: Site, file: str) -> None:
    result = await sandboxed.shell(f"ln {file} out", {}, ["out"])
    assert result.exit_code != 0
    assert not result.output_files


# Links and paths that lead out


@pytest.mark.parametrize("target", ["/etc/shadow", "../../../../etc/shadow", "/proc/1/root/etc"])
async def test_a_link_as_an_output_stays_a_link(sandboxed: Site, target: str) -> None:
    result = await sandboxed.shell(f"ln -s {target} out", {}, ["out"])
    assert [link.target for link in result.output_symlinks] == [target]
    assert not result.output_files
    assert not result.output_directories


async def test_a_link_in_an_output_directory_stays_a_link(sandboxed: Site) -> None:
    result = await sandboxed.shell("mkdir out; ln -s / out/root", {}, ["out"])
    assert len(result.output_directories) == 1
    assert not result.output_files


@pytest.mark.parametrize("target", ["/tmp", "/etc", "../..", "../../.."])
async def test_no_output_is_made_through_a_link_of_the_input_tree_that_leads_out(
    sandboxed: Site, target: str
) -> None:
    with pytest.raises(InvalidMessage, match="no folder of the input root"):
        await sandboxed.shell("true", {"link": Link(target)}, ["link/file"])


async def test_an_output_swapped_for_a_link_while_it_runs_is_what_it_is_at_the_end(
    sandboxed: Site,
) -> None:
    script = "mkdir out; echo x > out/f; rm -r out; ln -s /etc out"
    result = await sandboxed.shell(script, {}, ["out/f", "out"])
    assert not result.output_files
    assert [link.path for link in result.output_symlinks] == ["out"]


async def test_the_roots_of_other_processes_lead_nowhere_else(sandboxed: Site) -> None:
    secret = sandboxed.path / "of-the-host"
    secret.write_text("the secret")
    script = f"for p in /proc/[0-9]*; do cat $p/root{secret} $p/cwd{secret}; done; true"
    assert "the secret" not in await sandboxed.stdout(await sandboxed.shell(script))


# Other actions, the worker, the host


async def test_nothing_of_another_action_can_be_read(sandboxed: Site) -> None:
    secret = secrets.token_hex(16)
    hide = "cp secret /tmp/; cp secret /dev/shm/; cp secret /var/tmp/; sleep 2"
    look = (
        "sleep 0.7; grep -rs . /tmp /var/tmp /dev/shm /run /b --include=secret;"
        "cat /proc/[0-9]*/environ; grep -as . /dev/mqueue/*; ps ax; true"
    )
    async with asyncio.TaskGroup() as tasks:
        one = {"secret": secret.encode()}
        tasks.create_task(sandboxed.shell(hide, one, environment={"SECRET": secret}))
        other = tasks.create_task(sandboxed.shell(look))
    assert secret not in await sandboxed.stdout(other.result())


async def test_what_an_action_leaves_is_gone_for_the_next(sandboxed: Site) -> None:
    await sandboxed.shell("for f in /tmp /var/tmp /dev/shm /run; do echo x > $f/left; done; true")
    result = await sandboxed.shell("ls /tmp /var/tmp /dev/shm /run")
    assert "left" not in await sandboxed.stdout(result)


async def test_killing_every_process_ends_the_action_alone(sandboxed: Site) -> None:
    await sandboxed.shell("kill -9 -1; true")
    assert await sandboxed.stdout(await sandboxed.shell("echo alive")) == "alive\n"


async def test_no_socket_of_the_host_is_in_reach(sandboxed: Site) -> None:
    name = f"\0holdfast-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket() as loopback:
        abstract.bind(name)
        abstract.listen()
        loopback.bind(("127.0.0.1", 0))
        loopback.listen()
        program = (
            "import socket\n"
            f"for kind, address in ((socket.AF_UNIX, {name!r}),"
            f" (socket.AF_INET, ('127.0.0.1', {loopback.getsockname()[1]}))):\n"
            "    try: socket.socket(kind).connect(address); print('reached')\n"
            "    except OSError: pass\n"
        )
        result = await sandboxed.shell("python3 try.py", {"try.py": program.encode()})
    assert result.exit_code == 0
    assert await sandboxed.stdout(result) == ""


async def test_settings_of_the_kernel_cannot_be_written(sandboxed: Site) -> None:
    result = await sandboxed.shell(
        "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper; do"
        " echo x > $f; done 2>/dev/null; echo $?"
    )
    assert await sandboxed.stdout(result) != "0\n"


async def test_the_workers_variables_are_not_the_actions(sandboxed: Site) -> None:
    os.environ["HOLDFAST_TOKEN_FILE"] = "/secret/of/the/worker"
    try:
        result = await sandboxed.shell("env; cat /proc/1/environ | tr '\\0' '\\n'")
    finally:
        del os.environ["HOLDFAST_TOKEN_FILE"]
    assert "HOLDFAST_TOKEN_FILE" not in await sandboxed.stdout(result)
