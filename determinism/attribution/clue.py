"""What is known of a run, and what a difference suggests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from determinism.difference import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """One run of an action.

    begun, ended: seconds since 1970. root: absolute path at which it saw its input root, rules,
    toolchain, host_name, worker: as Report and Offer of worker.proto have them; "" where it is not
    known.
    """

    begun: float
    ended: float
    root: str = ""
    worker: str = ""
    host_name: str = ""
    rules: str = ""
    toolchain: str = ""


class Clue(NamedTuple):
    """weight: how well it tells, from 0 to 100; of two, the higher counts."""

    weight: int
    cause: Cause
    evidence: str


NOTHING = Clue(0, Cause.UNKNOWN, "")
CERTAIN = 60  # a clue of this weight explains what else differs in the output without one
POOR = 30  # a clue below gives way to such an explanation
