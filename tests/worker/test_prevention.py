"""Each switch of worker.prevent: a real tool that differs without it and agrees with it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from re_config.schema import Prevention
from tests.worker.cell import Cell, Done, cell, cells, without
from tests.worker.trees import Inputs
from worker.prevention import SWITCHES

SOURCE: Inputs = {"a.c": b"int a(int x) { return x + 1; }\n"}
PLAIN = {"sandbox": {"kind": "none"}}
IN_MEMORY = {"working_tree": "tmpfs"}
PYTHON = "/usr/bin/python3"


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Have this process's variables otherwise while the block runs."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def umask(mode: int) -> Iterator[None]:
    before = os.umask(mode)
    try:
        yield
    finally:
        os.umask(before)


def texts(*paths: str) -> str:
    """Return what stands in files of the host, in those that are there."""
    return "".join(path.read_text() for path in map(Path, paths) if path.is_file())


async def twice(
    made: Cell, script: str, inputs: Inputs | None = None, **command: str
) -> tuple[Done, Done]:
    """Run `script` two times, far enough apart for clocks that count seconds."""
    first = await made.shell(script, inputs, environment=command)
    second = await made.shell(f"sleep 1.1; {script}", inputs, environment=command)
    return first, second


async def differs_without(
    tmp_path: Path,
    switch: str,
    script: str,
    inputs: Inputs | None = None,
    also: Mapping[str, object] | None = None,
    **command: str,
) -> None:
    """Assert that what `script` gives depends on one switch alone.

    It is run twice on a worker without the switch, and once on each of two with it.
    """
    off: dict[str, object] = {**(also or {}), **without(switch)}
    async with cells(tmp_path, off, also or {}, also or {}) as (bare, one, other):
        first, second = await twice(bare, script, inputs, **command)
        assert (first.stdout, first.files) != (second.stdout, second.files)
        assert switch not in bare.sandbox.switches
        first, second = (
            await one.shell(script, inputs, environment=command),
            await other.shell(f"sleep 1.1; {script}", inputs, environment=command),
        )
        assert (first.stdout, first.files) == (second.stdout, second.files)
        assert first.stdout or first.files
        assert switch in one.sandbox.switches


def test_every_switch_of_the_configuration_has_a_name_and_a_reason() -> None:
    names = {switch.name for switch in SWITCHES}
    fields = {field.name for field in msgspec.structs.fields(Prevention) if field.type is bool}
    assert fields <= names
    assert names - fields == {"processes", "mounts", "network", "processors", "tmpfs"}
    assert all(switch.prevents for switch in SWITCHES)


async def test_debug_information_has_the_path(tmp_path: Path) -> None:
    await differs_without(tmp_path, "path", "gcc -g -c a.c -o out/a.o", SOURCE)


async def test_objects_print_their_addresses(tmp_path: Path) -> None:
    await differs_without(tmp_path, "addresses", f"{PYTHON} -c 'print(object())'")


async def test_without_a_sandbox_addresses_are_the_same_too(tmp_path: Path) -> None:
    script = f"{PYTHON} -c 'print(object())'"
    async with cells(tmp_path, PLAIN, {**PLAIN, **without("addresses")}) as (fixed, random):
        first, second = await twice(fixed, script)
        assert first.stdout == second.stdout
        assert "addresses" in fixed.sandbox.switches
        first, second = await twice(random, script)
        assert first.stdout != second.stdout


async def test_a_user_name_space_keeps_addresses_the_same(tmp_path: Path) -> None:
    async with cell(tmp_path, own_user=True) as made:
        first, second = await twice(made, f"{PYTHON} -c 'print(object())'")
        assert first.stdout == second.stdout


async def test_uname_knows_the_host(tmp_path: Path) -> None:
    async with cells(tmp_path, without("host_name"), {}) as (bare, named):
        assert (await bare.shell("uname -n")).stdout == f"{socket.gethostname()}\n"
        assert (await named.shell("uname -n")).stdout == "holdfast\n"


@contextmanager
def shared_memory() -> Iterator[None]:
    """Have a segment of System V shared memory on the host while the block runs."""
    made = subprocess.run(["ipcmk", "-M", "64"], check=True, capture_output=True, text=True)
    try:
        yield
    finally:
        subprocess.run(["ipcrm", "-m", made.stdout.split()[-1]], check=True)


async def test_ipcs_lists_what_others_share(tmp_path: Path) -> None:
    script = "ipcs -m | cut -d' ' -f2"
    async with cells(tmp_path, without("ipc"), {}) as (bare, apart):
        nothing = (await apart.shell(script)).stdout
        with shared_memory():
            assert len((await bare.shell(script)).stdout.split()) > len(nothing.split())
            assert (await apart.shell(script)).stdout == nothing


async def test_getent_knows_the_accounts_of_the_worker(tmp_path: Path) -> None:
    script = "getent passwd; getent group; whoami; id -un; ls -ld /usr/bin/chage | cut -d' ' -f4"
    async with cells(tmp_path, without("users"), {}) as (bare, fixed):
        found = await bare.shell(script)
        assert set(texts("/etc/group").splitlines()) <= set(found.stdout.splitlines())
        lines = (await fixed.shell(script)).stdout.splitlines()
        assert [line.split(":")[0] for line in lines] == [
            *("root", "daemon", "bin", "nobody"),
            *("root", "daemon", "bin", "tty", "nogroup"),
            *("nobody", "nobody"),
            # In no list now; in a user name space it is nobody's.
            str(os.stat("/etc/shadow").st_gid) if os.geteuid() == 0 else "nogroup",  # noqa: PTH116
        ]


async def test_tar_writes_the_id_of_who_runs_it(tmp_path: Path) -> None:
    script = "touch f; tar --numeric-owner -cf t f; tar --numeric-owner -tvf t | cut -d' ' -f2"
    for number, (worker, user) in enumerate(((without("users"), os.getuid()), ({}, 65534))):
        async with cell(tmp_path / str(number), worker, own_user=True) as made:
            assert (await made.shell(script)).stdout.startswith(f"{user}/")


async def test_getent_resolves_the_hosts_of_the_worker(tmp_path: Path) -> None:
    async with cells(tmp_path, without("machine"), {}) as (bare, fixed):
        script = "cat /etc/hosts /etc/hostname /etc/machine-id 2>/dev/null; hostid"
        own = texts("/etc/hosts", "/etc/hostname", "/etc/machine-id")
        assert (await bare.shell(script)).stdout.startswith(own)
        assert (await fixed.shell(script)).stdout.startswith("127.0.0.1 localhost\n")
        found = await fixed.shell("getent hosts $(uname -n)")
        assert found.stdout.split() == ["127.0.1.1", "holdfast"]


@pytest.mark.parametrize("sandbox", ["bubblewrap", "none"])
async def test_new_files_have_the_modes_of_the_umask(sandbox: str) -> None:
    kind = {"sandbox": {"kind": sandbox}}
    found = []
    for worker in (kind, {**kind, **without("umask")}):
        for mode in (0o022, 0o077):
            with TemporaryDirectory(dir="/var/tmp") as folder:
                for each in (Path(folder), Path(folder, "worker")):
                    each.mkdir(exist_ok=True)
                    each.chmod(0o711)  # actions have a user of their own
                with umask(mode):
                    async with cell(Path(folder, "worker"), worker) as made:
                        found.append((await made.shell("touch f; stat -c %a f")).stdout.strip())
    assert found == ["644", "644", "644", "600"]


@pytest.mark.parametrize("worker", [{}, PLAIN], ids=["bubblewrap", "none"])
async def test_wc_counts_the_characters_of_the_locale(
    tmp_path: Path, worker: dict[str, object]
) -> None:
    script = r"printf '\303\251' | wc -m"
    async with cells(tmp_path, {**worker, **without("locale")}, worker) as (bare, fixed):
        found = []
        for locale in ("C", "C.UTF-8"):
            with environment(LC_ALL=locale):
                found += [(await made.shell(script)).stdout.strip() for made in (bare, fixed)]
        assert found == ["2", "2", "1", "2"]
        chosen = await fixed.shell(script, environment={"LANG": "C.UTF-8"})
        assert chosen.stdout.strip() == "1"  # the Command's own counts


@pytest.mark.parametrize("worker", [{}, PLAIN], ids=["bubblewrap", "none"])
async def test_date_says_local_times(tmp_path: Path, worker: dict[str, object]) -> None:
    script = "date -d @0 +%H%Z"
    async with cells(tmp_path, {**worker, **without("time_zone")}, worker) as (bare, fixed):
        found = []
        for zone in ("Asia/Tokyo", "UTC"):
            with environment(TZ=zone):
                found += [(await made.shell(script)).stdout.strip() for made in (bare, fixed)]
        assert found == ["09JST", "00UTC", "00UTC", "00UTC"]
        chosen = await fixed.shell(script, environment={"TZ": "Asia/Tokyo"})
        assert chosen.stdout.strip() == "09JST"


@pytest.mark.parametrize("worker", [{}, PLAIN], ids=["bubblewrap", "none"])
async def test_git_keeps_its_settings_in_a_home(tmp_path: Path, worker: dict[str, object]) -> None:
    script = "git config --global --add user.name x && git config --global --get-all user.name"
    async with cells(tmp_path, {**worker, **without("home")}, worker) as (bare, homely):
        done = await bare.run(["/bin/sh", "-c", script])
        assert done.exit_code != 0
        assert "HOME" in done.stderr
        for _ in range(2):  # the second finds nothing of the first
            assert (await homely.shell(script)).stdout == "x\n"


async def test_ls_sees_what_others_left_behind(tmp_path: Path) -> None:
    script = "ls /tmp /var/tmp /dev/shm; touch /tmp/left /var/tmp/left /dev/shm/left"
    async with cells(tmp_path, without("temporary"), {}) as (shared, private):
        first, second = await twice(shared, script)
        assert second.stdout.count("left") == first.stdout.count("left") + 3
        first, second = await twice(private, script)
        assert "left" not in first.stdout + second.stdout
    async with cell(tmp_path / "0", without("temporary")) as again:
        assert "left" not in (await again.shell(script)).stdout


TAR = "tar --format=posix --pax-option=delete=atime,delete=ctime -cf out/a.tar a.c d"


async def test_tar_writes_the_times_of_inputs(tmp_path: Path) -> None:
    await differs_without(tmp_path, "modified", TAR, {**SOURCE, "d/b": b"b"})


MANY: Inputs = {**{f"d/{name}": b"" for name in "abcdefghijklmnop"}, "d/x/1": b"", "d/y/1": b""}


async def test_python_lists_directories_in_the_order_of_creation(tmp_path: Path) -> None:
    script = f"{PYTHON} -c 'import os; print(os.listdir(\"d\"))'"
    await differs_without(tmp_path, "order", script, MANY, IN_MEMORY)


async def test_zip_archives_have_the_order_of_the_directory(tmp_path: Path) -> None:
    # An alphabet of files is not met in one order twice by chance.
    await differs_without(tmp_path, "order", "zip -qrX out/d.zip d", MANY, IN_MEMORY)


async def test_gcc_writes_the_date(tmp_path: Path) -> None:
    source = {"a.c": b'const char *when = __DATE__ " " __TIME__;\n'}
    await differs_without(tmp_path, "epoch", "gcc -c a.c -o out/a.o", source)


async def test_python_orders_sets_by_a_seed(tmp_path: Path) -> None:
    script = f"{PYTHON} -c 'print(set(\"abcdefghijklmnopqrstuvwxyz\"))'"
    await differs_without(tmp_path, "hash_seed", script)


async def test_the_mach_o_linker_writes_the_times_of_objects(tmp_path: Path) -> None:
    script = (
        "clang --target=x86_64-apple-macos11 -g -ffreestanding -c a.c -o a.o && "
        "$(ls /usr/lib/llvm-*/bin/ld64.lld | tail -1) -dylib -arch x86_64 "
        "-platform_version macos 11.0 11.0 a.o -o out/a.dylib"
    )
    await differs_without(tmp_path, "archive_dates", script, SOURCE)


async def test_variables_of_the_command_stay_as_they_are(tmp_path: Path) -> None:
    given = {
        "SOURCE_DATE_EPOCH": "1",
        "PYTHONHASHSEED": "2",
        "ZERO_AR_DATE": "",
        "HOME": "/nowhere",
        "LANG": "C.UTF-8",
        "TZ": "Asia/Tokyo",
        "PATH": "/usr/bin",
    }
    async with cell(tmp_path) as made:
        done = await made.run(["env"], environment=given)
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == given


async def test_nproc_counts_processors(tmp_path: Path) -> None:
    here = len(os.sched_getaffinity(0))
    for number, kind in enumerate(({}, PLAIN)):
        worker: dict[str, object] = {**kind, "prevent": {"processors": 1}}
        async with cells(tmp_path / str(number), kind, worker) as (bare, pinned):
            assert (await bare.shell("nproc")).stdout == f"{here}\n"
            assert (await pinned.shell("nproc")).stdout == "1\n"
            assert "processors" in pinned.sandbox.switches


async def test_the_shell_knows_its_process_number(tmp_path: Path) -> None:
    async with cells(tmp_path, PLAIN, {}) as (bare, apart):
        first, second = await twice(bare, "echo $$")
        assert first.stdout != second.stdout
        first, second = await twice(apart, "echo $$")
        assert first.stdout == second.stdout
        assert {"processes", "mounts", "network"} <= set(apart.sandbox.switches)
        assert not {"processes", "mounts", "network", "path"} & set(bare.sandbox.switches)


async def test_the_network_is_a_switch_of_the_sandbox(tmp_path: Path) -> None:
    open_to_all = {"sandbox": {"kind": "bubblewrap", "network": True}}
    script = "cut -d: -f1 /proc/net/dev | sed 1,2d | tr -d ' '"
    async with cells(tmp_path, open_to_all, {}) as (bare, apart):
        host = sorted(name for _, name in socket.if_nameindex())
        assert sorted((await bare.shell(script)).stdout.split()) == host
        assert (await apart.shell(script)).stdout == "lo\n"
        assert "network" not in bare.sandbox.switches
