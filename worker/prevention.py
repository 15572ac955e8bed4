"""The switches of the sandbox, and which of them are in force."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgspec

from re_config.schema import Prevention
from worker.conditions import ADDR_NO_RANDOMIZE


@dataclass(frozen=True, slots=True)
class Switch:
    """One thing that is kept the same. prevents: what would get into outputs otherwise."""

    name: str
    prevents: str


# Those that every bubblewrap sandbox has first.
SWITCHES = (
    Switch("processes", "process numbers in names and outputs, and processes left running"),
    Switch("mounts", "files of the host that are no inputs"),
    Switch("network", "what servers answer"),
    Switch("path", "the path of the build, in debug information and in names made from it"),
    Switch("addresses", "addresses in outputs, and orders that follow from them"),
    Switch("host_name", "the worker's host name"),
    Switch("ipc", "message queues, semaphores and shared memory of the host"),
    Switch("users", "names and numbers of the worker's accounts, in archives"),
    Switch("machine", "/etc/hosts, hostname, machine-id and timezone of the worker"),
    Switch("umask", "modes that follow from how the worker was started"),
    Switch("locale", "sort orders and messages of another language"),
    Switch("time_zone", "local times"),
    Switch("home", "settings and caches in a home folder"),
    Switch("temporary", "what others left in /tmp, /var/tmp and /dev/shm"),
    Switch("modified", "times of inputs, in archives"),
    Switch("order", "orders of directory listings, with worker.working_tree = tmpfs"),
    Switch("epoch", "the time of the build, where tools heed SOURCE_DATE_EPOCH"),
    Switch("hash_seed", "orders of Python's sets"),
    Switch("archive_dates", "times that LLVM's Mach-O tools write"),
    Switch("randomness", "random names in -flto objects, uuid build ids, orders of hash maps"),
    Switch("processors", "outputs that follow from the number of processors"),
    Switch("tmpfs", "orders of directory listings that follow from the disk's file system"),
)
# What a sandbox can keep the same that is none, but for inputs, which are made before it.
PLAIN = frozenset(
    {"addresses", "umask", "locale", "time_zone", "home", "modified", "order", "epoch", "hash_seed"}
    | {"archive_dates", "randomness", "processors"}
)
UNPREVENTABLE = (
    ("time", "the clock runs: tools that do not heed SOURCE_DATE_EPOCH write the time"),
    ("processor model", "-march=native and programs that ask the processor see this host's"),
    ("processor count", "/proc/cpuinfo and /proc/stat show all, whatever `processors` says"),
    ("kernel", "its version and its /proc are this host's"),
    ("load", "races between an action's own processes end as they do"),
    ("memory", "/proc/meminfo is this host's"),
    ("direct randomness", "getrandom without the C library, and /proc/sys/kernel/random/uuid"),
    ("file numbers", "inode and device numbers follow from the file system"),
)


def wanted(prevent: Prevention) -> set[str]:
    """Return the names of switches that the configuration turns on."""
    fields = {name: value for name, value in msgspec.structs.asdict(prevent).items() if value}
    return {switch.name for switch in SWITCHES if switch.name in fields}


def in_force(
    prevent: Prevention,
    *,
    addresses: bool,
    library: bool,
    also: Collection[str] = (),
    possible: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Return the names of switches that are on and work, sorted.

    addresses: whether the system lets randomisation be off. library: whether seeded randomness
    reaches getrandom. also: what the sandbox has anyway. possible: what it can; None: all.
    """
    on = wanted(prevent) | set(also)
    if possible is not None:
        on &= set(possible)
    if not addresses:
        on -= {"addresses"}
    if not library:
        on -= {"randomness"}
    return tuple(sorted(on))


def unrandomised(personality: bytes) -> bool:
    """Tell from a process's /proc/PID/personality whether its addresses are the same each time."""
    try:
        return bool(int(personality, 16) & ADDR_NO_RANDOMIZE)
    except ValueError:
        return False
