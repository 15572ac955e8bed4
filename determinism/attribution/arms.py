"""The runs of an audit, by what they were for, and how their results differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import groupby

from determinism.attribution.clue import NOTHING, Clue
from determinism.attribution.factors import Factor
from determinism.outcome import Outcome

EVERYTHING = "everything varied"
CONTROL = "control"  # nothing is varied
SEEDED = "seeded"
ONE_PROCESSOR = "one processor"
SLOW = "slow clock"
EXIT_CODE = "exit code"  # as Outcome names it
SURE = 80  # weight of a clue that takes no runs to confirm
CHANCE = 0.05  # of what is seen for no reason, below which it is taken to have one
UNVARIED = (CONTROL, SEEDED, ONE_PROCESSOR)  # in the order of their runs


class Arms:
    """Results by arm. A place is an output or stream, named as in Difference.where.

    reference: the action's outcome as it is known; None: that of the first run which is added.
    """

    def __init__(self, reference: Outcome | None) -> None:
        self._reference = None if reference is None else _values(reference)
        self._arms: dict[str, list[dict[str, str]]] = {}
        self._clues: dict[str, Clue] = {}
        self._varied_clues: dict[str, Clue] = {}
        self.runs = 0

    @property
    def has_reference(self) -> bool:
        return self._reference is not None

    def add(self, arm: str, outcome: Outcome, clues: Mapping[str, Clue]) -> None:
        values = _values(outcome)
        if self._reference is None:
            self._reference = values
        self._arms.setdefault(arm, []).append(values)
        self.runs += 1
        kept = self._clues if arm in {CONTROL, SEEDED} else self._varied_clues
        for where, clue in clues.items():
            kept[where] = max(kept.get(where, NOTHING), clue)

    def count(self, arm: str) -> int:
        return len(self._arms.get(arm, ()))

    def clue(self, where: str) -> Clue:
        """Return the best of what contents suggested, where nothing was varied."""
        return self._clues.get(where, NOTHING)

    def varied_clue(self, where: str) -> Clue:
        """Return the best of what contents suggested, where something was varied."""
        return self._varied_clues.get(where, NOTHING)

    def unstable(self) -> list[str]:
        """Return the places that differ among control runs, by name."""
        return [where for where in self._places() if self.varies(where, CONTROL)]

    def suspects(self) -> list[str]:
        """Return the other places that any run, or the reference, has otherwise."""
        return [
            where
            for where in self._places()
            if not self.varies(where, CONTROL)
            and len({*self._all(where), self.reference(where)}) > 1
        ]

    def _places(self) -> list[str]:
        seen = [self._reference or {}, *(run for arm in self._arms.values() for run in arm)]
        return sorted({where for values in seen for where in values})

    def _all(self, where: str) -> set[str]:
        return {value for arm in self._arms for value in self.values(where, arm)}

    def reference(self, where: str) -> str:
        return (self._reference or {}).get(where, "")

    def values(self, where: str, arm: str) -> list[str]:
        """Return what an arm's runs have; of outputs, those that ended as the reference did.

        What a run that failed has not made says nothing of its own.
        """
        runs = self._arms.get(arm, [])
        if where != EXIT_CODE:
            runs = [run for run in runs if run.get(EXIT_CODE) == self.reference(EXIT_CODE)]
        return [run.get(where, "") for run in runs]

    def varies(self, where: str, arm: str) -> bool:
        return len(set(self.values(where, arm))) > 1

    def usual(self, where: str) -> str:
        """Return what control runs have; what the reference has, where there are none."""
        found = Counter(self.values(where, CONTROL)).most_common(1)
        return found[0][0] if found else self.reference(where)

    def shifted(self, where: str) -> bool:
        """Tell whether control runs agree, but not with the reference."""
        return not self.varies(where, CONTROL) and self.usual(where) != self.reference(where)

    def keeps_differing(self, where: str) -> bool:
        """Tell whether a place differs from the reference, or whenever everything is varied."""
        differing, made = self.strength(where, EVERYTHING)
        return self.shifted(where) or differing == made > 0

    def strength(self, where: str, arm: str) -> tuple[int, int]:
        """Return how many of an arm's runs differ from the control's, and how many there are."""
        usual, values = self.usual(where), self.values(where, arm)
        return sum(value != usual for value in values), len(values)

    def decided(self, where: str, arm: str, runs: int, share: float) -> bool:
        """Tell whether more runs, up to `runs`, cannot change whether `arm` is to blame."""
        differing, made = self.strength(where, arm)
        needed = math.ceil(share * runs)
        return differing >= needed or differing + runs - made < needed

    def blamed(self, where: str, runs: int, share: float) -> list[Factor]:
        """Return the factors that a place depends on, the strongest first.

        Not those that may seem to be because the place differs by chance: that shows in the runs
        of the other factors.
        """
        needed = math.ceil(share * runs)
        strengths = {factor: self.strength(where, factor) for factor in Factor}
        guilty = [factor for factor in Factor if strengths[factor][0] >= needed]
        noise = self._noise(where, guilty)
        clue = self.varied_clue(where).cause
        return sorted(
            (factor for factor in guilty if noise ** strengths[factor][0] < CHANCE),
            key=lambda factor: (-strengths[factor][0] / strengths[factor][1], factor.cause != clue),
        )

    def _noise(self, where: str, guilty: list[Factor]) -> float:
        """Return which part of runs that vary other factors differs from control runs."""
        others = [self.strength(where, factor) for factor in Factor if factor not in guilty]
        made = sum(count for _, count in others)
        return sum(differing for differing, _ in others) / made if made else 0.0

    def by_chance(self, where: str, blamed: list[Factor]) -> bool:
        """Tell whether a place differs now and then whatever is varied, beside what is blamed."""
        return self._noise(where, blamed) > 0

    def agreement(self, where: str, arm: str) -> float:
        """Return which part of an arm's runs has the most frequent value; 0 for no runs."""
        counts = Counter(self.values(where, arm))
        return max(counts.values()) / counts.total() if counts else 0.0

    def follows_clock(self, where: str) -> bool:
        """Tell whether results, once they change, do not come back, but stay for a while.

        Of two results, each has to stay: that one comes last alone may be a chance.
        """
        values = [value for arm in UNVARIED for value in self.values(where, arm)]
        stays = [len(list(same)) for _, same in groupby(values)]
        distinct = len(set(values))
        if distinct != len(stays) or max(stays, default=1) == 1:
            return False
        return distinct > 2 or (distinct == 2 and min(stays) > 1)  # noqa: PLR2004


def _values(outcome: Outcome) -> dict[str, str]:
    return outcome.outputs | {where: value for where, value in outcome.streams.items() if value}
