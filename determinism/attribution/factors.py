"""What an audit varies from run to run, one thing at a time or everything at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from determinism.difference import Cause
from protos import worker_pb2 as wire


class Factor(StrEnum):
    """One thing that an ordinary run holds fixed. In the order in which they are tried."""

    PATH = "path"
    PID = "pid"
    ORDER = "order"
    MTIME = "mtime"
    TIME = "time"
    ADDRESSES = "addresses"
    HASH_SEED = "hash seed"
    ENVIRONMENT = "environment"
    HOST = "host"
    PROCESSORS = "processors"
    RANDOM = "random"

    @property
    def cause(self) -> Cause:
        """What a result depends on if it changes with this."""
        return Cause.HOST if self is Factor.PROCESSORS else Cause(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordinary:
    """What runs that are not varied have.

    environment: the variables that the sandbox sets of itself. processors: that an action may use;
    0 where it is not known. seeds: whether the host can draw a program's randomness from a seed.
    """

    environment: Mapping[str, str] = field(
        default_factory=lambda: {
            "LC_ALL": "C",
            "PYTHONHASHSEED": "0",
            "SOURCE_DATE_EPOCH": "946684800",
            "TZ": "UTC",
            "ZERO_AR_DATE": "1",
        }
    )
    processors: int = 0
    seeds: bool = True


TICK_SECONDS = 2.1  # clocks of 1 and 2 s grain, as of tar and zip, go on
SLOW_TICK_SECONDS = 61  # so do those that show minutes

_FIRST_MODIFIED = 1_000_000_000  # 2001: every format can write it
_MODIFIED_STEP = 10_000_019  # some days, and seconds that are no multiple of a format's grain
_LENGTHS = (7, 33, 19, 48, 26, 11, 40)  # of paths: where they are padded, that hides some


def varied(factors: Iterable[Factor], number: int, ordinary: Ordinary) -> wire.Variation:
    """Return the variation of run `number`, from 1; no two runs give a factor the same value.

    An empty value in Variation.environment means that the variable is not set.
    """
    made = wire.Variation()
    for factor in factors:
        _vary(made, factor, number, ordinary)
    return made


def slow(number: int, ordinary: Ordinary) -> wire.Variation:
    """Return the variation of a run by whose start a clock that shows minutes has gone on."""
    made = varied([Factor.TIME], number, ordinary)
    made.delay.FromMilliseconds(SLOW_TICK_SECONDS * 1000)
    return made


def seeded() -> wire.Variation:
    """Return the variation of runs that all draw the same randomness."""
    return wire.Variation(random_seed="audit")


def usable(factor: Factor, ordinary: Ordinary) -> bool:
    return factor is not Factor.RANDOM or ordinary.seeds


def _vary(made: wire.Variation, factor: Factor, number: int, ordinary: Ordinary) -> None:
    token = hashlib.sha256(f"{factor} {number}".encode()).hexdigest()
    match factor:
        case Factor.PATH:
            made.root = f"/b/{token[: _LENGTHS[number % len(_LENGTHS)]]}"
        case Factor.HOST:
            made.host_name = f"audit-{token[: 3 + number % 9]}"
        case Factor.PID:
            made.skipped_pids = 20 + 37 * number
        case Factor.MTIME:
            made.modified = _FIRST_MODIFIED + _MODIFIED_STEP * number
        case Factor.ORDER:
            made.order_seed = int(token[:15], 16) | 1
        case Factor.RANDOM:
            made.random_seed = token
        case _:
            _vary_process(made, factor, number, ordinary)


def _vary_process(made: wire.Variation, factor: Factor, number: int, ordinary: Ordinary) -> None:
    match factor:
        case Factor.PROCESSORS:
            made.processors = 2 if ordinary.processors == 1 else 1
        case Factor.ADDRESSES:
            made.randomised_addresses = True
        case Factor.TIME:
            made.delay.FromMilliseconds(int(TICK_SECONDS * 1000) + 100 * number)
            # Not set to another time: some programs ask only whether it is set.
            made.environment.update({"SOURCE_DATE_EPOCH": "", "ZERO_AR_DATE": ""})
        case _:
            made.environment.update(_environment(factor, number, ordinary))


def _environment(factor: Factor, number: int, ordinary: Ordinary) -> dict[str, str]:
    if factor is Factor.HASH_SEED:
        return {"PYTHONHASHSEED": str(7919 * number), "PERL_HASH_SEED": str(7919 * number)}
    utf8 = "UTF-8" in ordinary.environment.get("LC_ALL", ordinary.environment.get("LANG", ""))
    locale = "POSIX" if utf8 else "C.UTF-8"
    # A zone by rule needs no table of zones on the worker.
    return {"LANG": locale, "LC_ALL": locale, "TZ": f"AUDIT{number % 12 + 1}:{7 * number % 60:02}"}
