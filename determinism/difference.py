"""Where and why two results of one action differ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """What a result depends on that is not in its action."""

    PATH = "path"
    """Where the input root is."""
    TIME = "time"
    """When the action ran."""
    MTIME = "mtime"
    """The times of its inputs."""
    PID = "pid"
    """Process numbers."""
    RANDOM = "random"
    """Randomness that the program asked for, names of temporary files among it."""
    HASH_SEED = "hash seed"
    """The order of a hash table that is seeded anew in each process."""
    ORDER = "order"
    """The order in which a directory lists what is in it."""
    ADDRESSES = "addresses"
    """Where the kernel puts a program in memory."""
    HOST = "host"
    """The machine: its name, how many processors it has."""
    ENVIRONMENT = "environment"
    """Variables that the action did not set: locale, time zone."""
    RACE = "race"
    """The order in which threads or processes get on."""
    RULES = "rules"
    """Outputs were brought into canonical form under other rules."""
    TOOLCHAIN = "toolchain"
    """The workers' tools are not the same."""
    CORRUPTION = "corruption"
    """Bytes that no other run gives: of the pin, or of one run."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """One place in which two results differ, and why.

    where: path of the output, `stdout`, `stderr` or `exit code`. first, then: digests, or what else
    is there; "" where there is nothing. format: name of the output's format or "". part: section,
    member or line. ranges: bytes of the first that differ, from start to end (not included), at
    most MAX_RANGES. first_text, then_text: what stands there, where it is text, cut to MAX_TEXT
    characters. evidence: why that cause, for people.
    """

    where: str
    first: str
    then: str
    format: str = ""
    part: str = ""
    ranges: tuple[tuple[int, int], ...] = ()
    first_text: str = ""
    then_text: str = ""
    cause: Cause = Cause.UNKNOWN
    evidence: str = ""


MAX_RANGES = 20
MAX_TEXT = 400
