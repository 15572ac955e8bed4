"""Tells, of a pin and a result that contradicts it, which is the odd one out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from determinism.difference import Cause
from determinism.outcome import Outcome

MOST_RUNS = 5  # the contradicting one among them
ENOUGH = 3  # runs that agree: by chance, of two results equally often, 1 in 8
_CHANGING = {Cause.TIME, Cause.MTIME, Cause.RANDOM, Cause.PID, Cause.ADDRESSES}


class Odd(StrEnum):
    """Who is the odd one out."""

    NOBODY = "nobody"
    """They agree."""
    EVERYBODY = "everybody"
    """The action is not deterministic."""
    PIN = "pin"
    """No run gives what is pinned: it is corrupt or was put there by somebody. An alert."""
    RUN = "run"
    """Only the contradicting run has its result: that run or its worker is at fault."""
    TOOLCHAIN = "toolchain"
    """Runs with the same tools agree; others do not."""
    RULES = "rules"
    """Runs under the same rules for canonical forms agree; others do not."""

    @property
    def cause(self) -> Cause:
        match self:
            case Odd.PIN | Odd.RUN:
                return Cause.CORRUPTION
            case Odd.TOOLCHAIN:
                return Cause.TOOLCHAIN
            case Odd.RULES:
                return Cause.RULES
            case _:
                return Cause.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A result and where it comes from. toolchain, rules: as worker.proto has them."""

    outcome: Outcome
    worker: str = ""
    toolchain: str = ""
    rules: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an Arbiter finds.

    odd: of the whole result. places: of each output or stream that differs. evidence: for people.
    """

    odd: Odd
    places: dict[str, Odd]
    evidence: str


class Arbiter:
    """Judges once there are three results; asks for more where three do not tell.

    pin: what is pinned. run: the result that contradicts it. causes: by place, what the contents
    of these two say for certain: a date that both runs wrote is no corruption, even where all runs
    of a day agree.
    """

    def __init__(self, pin: Party, run: Party, causes: Mapping[str, Cause] | None = None) -> None:
        self._pin = pin
        self._runs = [run]
        self._causes = causes or {}

    def observed(self, run: Party) -> None:
        """Take what another run of the action gave."""
        self._runs.append(run)

    def wants_another(self) -> bool:
        """Tell whether another run may change what is judged."""
        if len(self._runs) == 1:
            return True
        if len(self._runs) >= MOST_RUNS:
            return False
        odd = self.judgement().odd
        if odd is Odd.RUN:
            return len(self._runs) <= ENOUGH
        return odd is Odd.PIN or (odd is Odd.EVERYBODY and self._undecided())

    def judgement(self) -> Judgement:
        """Judge by the runs so far."""
        parties = [self._pin, *self._runs]
        values = [_values(party.outcome) for party in parties]
        places = {
            where: self._judge(parties, [each.get(where, "") for each in values], where)
            for where in sorted({where for each in values for where in each})
            if len({each.get(where, "") for each in values}) > 1
        }
        odd = _whole(set(places.values()))
        return Judgement(odd, places, self._evidence(odd))

    def _undecided(self) -> bool:
        """Tell whether it is for want of runs that no pin or run is accused."""
        outcomes = [run.outcome for run in self._runs]
        accusable = not _CHANGING & set(self._causes.values())
        return (
            accusable and all(each == outcomes[0] for each in outcomes) and len(outcomes) < ENOUGH
        )

    def _judge(self, parties: Sequence[Party], values: Sequence[str], where: str) -> Odd:
        if (odd := _by_group(parties, values)) is not None:
            return odd
        pin, run, later = values[0], values[1], values[2:]
        if self._causes.get(where) in _CHANGING or not later:
            return Odd.EVERYBODY
        if pin != run and all(value == run for value in later):
            return Odd.PIN if len(values) > ENOUGH else Odd.EVERYBODY
        if pin != run and all(value == pin for value in later):
            return Odd.RUN
        return Odd.EVERYBODY

    def _evidence(self, odd: Odd) -> str:
        count = len(self._runs)
        match odd:
            case Odd.PIN:
                workers = len({run.worker for run in self._runs})
                return (
                    f"{count} runs on {workers} workers agree, and none gives what is pinned, "
                    f"which is from worker {self._pin.worker!r}"
                )
            case Odd.RUN:
                return (
                    f"{count - 1} other runs give what is pinned; "
                    f"that on worker {self._runs[0].worker!r} does not"
                )
            case Odd.TOOLCHAIN | Odd.RULES:
                kinds = {getattr(party, odd.value) for party in (self._pin, *self._runs)}
                return f"{odd.value}: {', '.join(sorted(map(repr, kinds)))}"
            case Odd.EVERYBODY:
                different = len({str(p.outcome) for p in (self._pin, *self._runs)})
                return f"{different} results of {count + 1}"
            case Odd.NOBODY:
                return f"{count + 1} results agree"


def _values(outcome: Outcome) -> dict[str, str]:
    return outcome.outputs | outcome.streams


def _whole(odds: set[Odd]) -> Odd:
    """Return the gravest of what is judged of single places, and what they have in common."""
    order = (Odd.EVERYBODY, Odd.PIN, Odd.RUN, Odd.TOOLCHAIN, Odd.RULES)
    return next((odd for odd in order if odd in odds), Odd.NOBODY)


def _by_group(parties: Sequence[Party], values: Sequence[str]) -> Odd | None:
    """Tell whether it depends on tools or rules alone; None where it does not.

    So it is if there is more than one kind of either, and parties of one kind all agree.
    """
    for odd in (Odd.TOOLCHAIN, Odd.RULES):
        kinds: dict[str, set[str]] = {}
        for party, value in zip(parties, values, strict=True):
            kind = party.toolchain if odd is Odd.TOOLCHAIN else party.rules
            kinds.setdefault(kind, set()).add(value)
        known = odd is Odd.RULES or "" not in kinds
        if len(kinds) > 1 and known and all(len(each) == 1 for each in kinds.values()):
            return odd
    return None
