"""Plans which runs tell what an action's results depend on, and concludes from them. Pure."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from determinism.attribution.arms import (
    CONTROL,
    EVERYTHING,
    EXIT_CODE,
    ONE_PROCESSOR,
    SEEDED,
    SLOW,
    SURE,
    Arms,
)
from determinism.attribution.clue import Clue
from determinism.attribution.factors import Factor, Ordinary, seeded, slow, usable, varied
from determinism.attribution.verdict import conclusions
from determinism.difference import Cause
from determinism.outcome import Outcome
from protos import worker_pb2 as wire

SLOW_RUNS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much an audit does.

    runs: for the control arm and each factor. varied: with everything varied, before an action
    counts as one that does not differ. share: part of a factor's runs that have to differ for it
    to be blamed. most: runs in all, after which the audit concludes with what it has.
    ordinary: what runs have that are not varied.
    """

    runs: int = 5
    varied: int = 3
    share: float = 0.75
    most: int = 80
    ordinary: Ordinary = field(default_factory=Ordinary)


class Run(NamedTuple):
    """A run to make. arm: what it is for. variation: what it is given."""

    arm: str
    variation: wire.Variation


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an audit found.

    differs: whether any run gave other results. latent: by place (as Difference.where), why.
    evidence: by place, for people. unstable: those of the places that differ without anything
    varied. runs: how many were made. complete: whether all the runs that it takes were made.
    """

    differs: bool
    latent: dict[str, Cause]
    evidence: dict[str, str]
    unstable: frozenset[str]
    runs: int
    complete: bool


class Audit:
    """One action's audit: `next_run` and `observed` in turn, until there is no run; `conclusion`.

    reference: what is known to be the action's outcome; None: that of an ordinary run.
    """

    def __init__(self, reference: Outcome | None, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._arms = Arms(reference)
        self._plan = self._planned()
        self._next: Run | None = next(self._plan, None)
        self._complete = False

    def next_run(self) -> Run | None:
        """Return the run that is to be made now; None when there is enough."""
        return self._next

    def observed(
        self,
        run: Run,
        outcome: Outcome,
        *,
        clues: Mapping[str, Clue] | None = None,
    ) -> None:
        """Take what `run`, which `next_run` returned, gave.

        clues: by place, what the contents suggest where the run differs from the reference, or
        from the first run that the audit made: see attribution.cause.clue_for.
        """
        self._arms.add(run.arm, outcome, clues or {})
        self._next = next(self._plan, None)
        self._complete = self._next is None
        if self._arms.runs >= self._settings.most:
            self._next = None

    def conclusion(self) -> Conclusion:
        """Conclude from the runs so far."""
        causes = conclusions(self._arms, self._settings.runs, self._settings.share)
        return Conclusion(
            differs=bool(causes),
            latent={where: clue.cause for where, clue in causes.items()},
            evidence={where: clue.evidence for where, clue in causes.items()},
            unstable=frozenset(self._arms.unstable()),
            runs=self._arms.runs,
            complete=self._complete,
        )

    def _planned(self) -> Generator[Run, None, None]:
        """Yield each run when those before it have been observed."""
        if not self._arms.has_reference:
            yield Run(CONTROL, wire.Variation())
        for number in range(1, self._settings.varied + 1):
            yield self._everything(number)
            suspects = self._arms.suspects()
            failed, _ = self._arms.strength(EXIT_CODE, EVERYTHING)
            if suspects and (suspects != [EXIT_CODE] or failed > 1):  # once may be the load
                break
        else:
            return
        while self._arms.count(CONTROL) < self._settings.runs:
            yield Run(CONTROL, wire.Variation())
        yield from self._one_by_one()
        yield from self._of_unstable()

    def _factors(self) -> list[Factor]:
        return [factor for factor in Factor if usable(factor, self._settings.ordinary)]

    def _everything(self, number: int) -> Run:
        """Return a run with all varied; each second one has all processors, for races to show."""
        factors = [f for f in self._factors() if f is not Factor.PROCESSORS or number % 2 == 0]
        return Run(EVERYTHING, varied(factors, number, self._settings.ordinary))

    def _one_by_one(self) -> Generator[Run, None, None]:
        """Vary one factor after the other, each until it is clear what depends on it."""
        runs, share = self._settings.runs, self._settings.share
        for factor in self._factors():
            for number in range(1, runs + 1):
                if all(self._arms.decided(w, factor, runs, share) for w in self._arms.suspects()):
                    break
                yield Run(factor, varied([factor], number, self._settings.ordinary))
        if self._unexplained():
            number = self._arms.count(EVERYTHING) + 1  # was it a chance?
            yield self._everything(number)
        for number in range(1, SLOW_RUNS + 1):
            if any(self._arms.keeps_differing(where) for where in self._unexplained()):
                yield Run(SLOW, slow(number, self._settings.ordinary))

    def _unexplained(self) -> list[str]:
        runs, share = self._settings.runs, self._settings.share
        return [w for w in self._arms.suspects() if not self._arms.blamed(w, runs, share)]

    def _of_unstable(self) -> Generator[Run, None, None]:
        """Take away, in turn, what may make runs differ of which nothing is varied."""
        ordinary = self._settings.ordinary
        unclear = [w for w in self._arms.unstable() if self._arms.clue(w).weight < SURE]
        if not unclear:
            return
        if ordinary.seeds:
            while self._arms.count(SEEDED) < self._settings.runs and not all(
                self._arms.varies(where, SEEDED) for where in unclear
            ):
                yield Run(SEEDED, seeded())
        if ordinary.processors != 1:
            for _ in range(self._settings.runs):
                yield Run(ONE_PROCESSOR, varied([Factor.PROCESSORS], 1, ordinary))
