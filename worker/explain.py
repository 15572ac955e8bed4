"""What a host can keep the same for actions, and what it cannot: each of it tried out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from re_config import schema
from re_config.schema import Prevention
from worker import identity, seeded
from worker.files import INPUT_TIME_NS
from worker.folders import Folders, memory_fault
from worker.prevention import PLAIN, SWITCHES, UNPREVENTABLE, unrandomised, wanted
from worker.process import adopt_orphans
from worker.sandbox import ACTION_USER, Sandbox, SandboxUnavailable, try_out
from worker.sandboxes import sandbox_of, site

TOOLS = (
    ("debugedit", "makes paths in debug information alike, where outputs are rewritten"),
    ("faketime", "varies the clock; Holdfast does not need it"),
    ("setpriv", "gives actions of a worker that is root a user of their own"),
)
# Facts of a run, a line each: a name, `=`, and what the kernel or a tool says.
_SCRIPT = """\
echo "ids=$(id -u):$(id -g)"
echo "host=$(uname -n)"
echo "passwd=$(cksum </etc/passwd)"
echo "machine=$(cat /etc/machine-id)"
echo "umask=$(umask)"
echo "zone=$TZ"
echo "locale=$LC_ALL"
echo "epoch=$SOURCE_DATE_EPOCH"
echo "hash_seed=$PYTHONHASHSEED"
echo "archive_dates=$ZERO_AR_DATE"
echo "home=$(ls -A "$HOME" | wc -l) $(test -w "$HOME" && echo writable)"
echo "temporary=$(ls -A /tmp | wc -l) $(ls -A /var/tmp | wc -l) $(ls -A /dev/shm | wc -l)"
echo "personality=$(cat /proc/self/personality)"
echo "interfaces=$(grep -c : /proc/net/dev)"
for space in ipc pid mnt; do echo "$space=$(readlink /proc/self/ns/$space)"; done
echo "path=$(pwd -P)"
echo "processors=$(nproc)"
echo "modified=$(stat -c %Y input)"
echo "devices=$(head -c 16 /dev/urandom | cksum)"
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One switch. on: what the configuration says. possible: whether it works on this host.

    why: what stands in the way; "" if nothing does.
    """

    name: str
    on: bool
    possible: bool
    prevents: str
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one host can prevent. fault: why no action can run at all; "" if they can.

    user: who actions run as. tools: where programs are that Holdfast can use, or what they are
    missed for. unpreventable: what no sandbox keeps the same, and why.
    """

    sandbox: str
    user: str
    fault: str
    switches: Sequence[Line]
    tools: Mapping[str, str]
    unpreventable: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What was found out. runs: what two runs with one seed said, by name.

    sandbox: "bubblewrap" or "none". processors: how many an action should see. library: fault of
    the library of seeded randomness. memory: fault of the folder in memory.
    """

    runs: tuple[Mapping[str, str], Mapping[str, str]]
    sandbox: str
    processors: int
    library: str
    memory: str

    def says(self, name: str, expected: str) -> str:
        """Return the fault if a run does not say what is expected."""
        found = self.runs[0].get(name, "")
        return "" if found == expected else f"{name} is {found!r} in the sandbox, not {expected!r}"

    def apart(self, space: str) -> str:
        """Return the fault if a name space is the host's."""
        own = os.readlink(f"/proc/self/ns/{space}")  # noqa: PTH115
        found = self.runs[0].get(space, own)
        return "actions share the host's" if found == own else ""


async def explain(config: schema.Worker) -> Explanation:
    """Try out what `config` could keep the same here, whether it does or not.

    Nothing of a worker that is running is touched. Raises OSError.
    """
    adopt_orphans()
    user, fault = "", ""
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-explain-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101, S103 - the action's user has to get through
        tried = msgspec.structs.replace(
            config,
            path=f"{folder}/worker",
            prevent=Prevention(processors=config.prevent.processors),
            working_tree="disk",
        )
        try:
            with site(tried) as (folders, spawner):
                sandbox = await sandbox_of(tried, folders, spawner)
                user = _user(sandbox)
                facts = await _facts(config, sandbox, folders)
                lines = [_line(config, facts, switch.name, switch.prevents) for switch in SWITCHES]
        except SandboxUnavailable as error:
            fault = str(error)
    return Explanation(
        sandbox=_kind(config),
        user=user,
        fault=fault,
        switches=lines,
        tools={name: shutil.which(name) or f"not found: it {what}" for name, what in TOOLS},
        unpreventable=dict(UNPREVENTABLE),
    )


def _kind(config: schema.Worker) -> str:
    return "bubblewrap" if isinstance(config.sandbox, schema.Bubblewrap) else "none"


def _user(sandbox: Sandbox) -> str:
    if sandbox.user is not None:
        return f"{sandbox.user}, another than the worker's"
    return "the worker's own"


def _line(config: schema.Worker, facts: _Facts, name: str, prevents: str) -> Line:
    on = wanted(config.prevent)
    if isinstance(config.sandbox, schema.Bubblewrap):
        on |= {"processes", "mounts"} | (set() if config.sandbox.network else {"network"})
    if config.working_tree == "tmpfs":
        on.add("tmpfs")
    if facts.sandbox == "none" and name not in PLAIN | {"tmpfs"}:
        why = "needs a sandbox: worker.sandbox.kind is none"
    else:
        why = _CHECKS[name](facts)
    return Line(name, name in on, not why, prevents, why)


async def _facts(config: schema.Worker, sandbox: Sandbox, folders: Folders) -> _Facts:
    library = ""
    try:
        seeded.library(folders.path)
    except seeded.NoCompiler as error:
        library = str(error)
    return _Facts(
        runs=(await _run(sandbox, folders), await _run(sandbox, folders)),
        sandbox=_kind(config),
        processors=config.prevent.processors or len(os.sched_getaffinity(0)),
        library=library,
        memory=memory_fault(Path(config.memory_path)),
    )


async def _run(sandbox: Sandbox, folders: Folders) -> dict[str, str]:
    """Run the script with a seed, in a folder with an input."""
    async with folders.action() as folder:
        probe = folder / "input"
        probe.touch()
        os.utime(probe, ns=(INPUT_TIME_NS, INPUT_TIME_NS))
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        said = await try_out(
            sandbox, folder, ["/bin/sh", "-c", _SCRIPT], environment, seed="explain"
        )
    lines = (line.partition("=") for line in said.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


def _cksum(text: str) -> str:
    """Return what cksum(1) says of `text`. Source: POSIX, cksum."""
    data = text.encode()
    length = len(data)
    tail = length.to_bytes((length.bit_length() + 7) // 8, "little")
    rest = 0
    for byte in data + tail:
        rest ^= byte << 24
        for _ in range(8):
            rest = (rest << 1) ^ (0x104C11DB7 if rest & 0x80000000 else 0)
    return f"{rest ^ 0xFFFFFFFF} {length}"


def _addresses(facts: _Facts) -> str:
    if unrandomised(facts.runs[0].get("personality", "").encode()):
        return ""
    return "personality(2) is not allowed here, or bubblewrap is setuid"


def _randomness(facts: _Facts) -> str:
    first, second = (run.get("devices") for run in facts.runs)
    if facts.sandbox == "bubblewrap" and (not first or first != second):
        return "nothing can take the place of /dev/urandom"
    return f"/dev/urandom alone, not getrandom: {facts.library}" if facts.library else ""


def _temporary(facts: _Facts) -> str:
    return facts.says("temporary", "0 0 0")


_CHECKS: Mapping[str, Callable[[_Facts], str]] = {
    "processes": lambda facts: facts.apart("pid"),
    "mounts": lambda facts: facts.apart("mnt"),
    "network": lambda facts: facts.says("interfaces", "1"),
    "path": lambda facts: facts.says("path", "/b/probe"),
    "addresses": _addresses,
    "host_name": lambda facts: facts.says("host", identity.HOST_NAME),
    "ipc": lambda facts: facts.apart("ipc"),
    "users": lambda facts: (
        facts.says("ids", f"{ACTION_USER}:{ACTION_USER}")
        or facts.says("passwd", _cksum(identity.PASSWD))
    ),
    "machine": lambda facts: facts.says("machine", identity.MACHINE_ID),
    "umask": lambda facts: facts.says("umask", "0022"),
    "locale": lambda facts: facts.says("locale", "C"),
    "time_zone": lambda facts: facts.says("zone", "UTC"),
    "home": lambda facts: facts.says("home", "0 writable"),
    "temporary": _temporary,
    "modified": lambda facts: facts.says("modified", str(INPUT_TIME_NS // 10**9)),
    "order": lambda facts: "",
    "epoch": lambda facts: facts.says("epoch", str(Prevention().epoch_seconds)),
    "hash_seed": lambda facts: facts.says("hash_seed", "0"),
    "archive_dates": lambda facts: facts.says("archive_dates", "1"),
    "randomness": _randomness,
    "processors": lambda facts: facts.says("processors", str(facts.processors)),
    "tmpfs": lambda facts: facts.memory,
}
