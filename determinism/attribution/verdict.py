"""Concludes from an audit's runs why each place differs."""

from __future__ import annotations

from determinism.attribution.arms import (
    CHANCE,
    CONTROL,
    EVERYTHING,
    ONE_PROCESSOR,
    SEEDED,
    SLOW,
    SURE,
    Arms,
)
from determinism.attribution.clue import CERTAIN, POOR, Clue
from determinism.attribution.factors import Factor
from determinism.difference import Cause

_PERMUTED = {Cause.ORDER, Cause.HASH_SEED, Cause.RACE}
_FEWER = 0.5  # of disagreements: what is left where a race has one processor


def conclusions(arms: Arms, runs: int, share: float) -> dict[str, Clue]:
    """Return the cause of each place that differs, by place. runs, share: see audit.Settings."""
    causes = {where: _of_factors(arms, where, runs, share) for where in arms.suspects()}
    causes |= {where: _of_unstable(arms, where) for where in arms.unstable()}
    return dict(sorted(causes.items()))


def _of_factors(arms: Arms, where: str, runs: int, share: float) -> Clue:
    """Judge a place that is the same in all control runs."""
    if blamed := arms.blamed(where, runs, share):
        cause = blamed[0].cause
        if blamed[0] is Factor.RANDOM and arms.varied_clue(where).cause in _PERMUTED:
            cause = Cause.HASH_SEED
        if blamed[0] is Factor.PROCESSORS and arms.by_chance(where, blamed):
            cause = Cause.RACE  # which one processor takes away
        clue = arms.varied_clue(where)
        if cause is Cause.ENVIRONMENT and clue.cause is Cause.TIME and clue.weight >= SURE:
            return clue._replace(evidence=f"{clue.evidence}; it is a local time")
        also = "".join(f"; also with the {each} {_of(arms, where, each)}" for each in blamed[1:])
        told = f"with the {blamed[0]} varied alone, {_of(arms, where, blamed[0])}"
        none = f"and in none of {arms.count(CONTROL)} without"
        return Clue(90, cause, f"{told} {none}{also}")
    differing, made = arms.strength(where, SLOW)
    if made and differing == made:
        return Clue(70, Cause.TIME, f"differs in all of {made} runs a minute apart")
    return _rarely(arms, where)


def _of(arms: Arms, where: str, factor: Factor) -> str:
    differing, made = arms.strength(where, factor)
    return f"it differs in {differing} of {made} runs"


def _rarely(arms: Arms, where: str) -> Clue:
    """Judge a place that no factor is to blame for."""
    if arms.shifted(where):
        clue = arms.clue(where)
        if clue.weight >= POOR:
            return clue
        return Clue(0, Cause.UNKNOWN, "all runs agree, but not with the result that is known")
    clue = max(arms.clue(where), arms.varied_clue(where))
    if clue.cause is Cause.RANDOM and clue.weight >= POOR and not arms.usual(where):
        return clue  # an output that only few runs have, under a name drawn by lot
    alone = [arms.strength(where, arm) for arm in (*Factor, SLOW, SEEDED, ONE_PROCESSOR)]
    everything = arms.strength(where, EVERYTHING)
    differing, made = (sum(each) for each in zip(*alone, everything, strict=True))
    if any(count for count, _ in alone) or everything[0] < everything[1]:
        said = f"differs in {differing} of {made} runs, whatever is varied"
        return Clue(40, Cause.RACE, said)
    return Clue(0, Cause.UNKNOWN, "differs only with several things varied together")


def _of_unstable(arms: Arms, where: str) -> Clue:
    """Judge a place that differs among control runs."""
    clue = arms.clue(where)
    count = len(set(arms.values(where, CONTROL)))
    said = f"{count} results in {arms.count(CONTROL)} runs with nothing varied"
    if clue.weight >= SURE:
        return clue._replace(evidence=f"{clue.evidence}; {said}")
    if _settled(arms, where, SEEDED):
        cause = Cause.HASH_SEED if clue.cause in _PERMUTED else Cause.RANDOM
        return Clue(85, cause, f"{said}, one in {arms.count(SEEDED)} with seeded randomness")
    if clue.weight >= CERTAIN:
        return clue._replace(evidence=f"{clue.evidence}; {said}")
    if arms.follows_clock(where):
        return Clue(75, Cause.TIME, f"{said}: what changes does not come back")
    if _settled(arms, where, ONE_PROCESSOR) or _rarer(arms, where):
        few = len(set(arms.values(where, ONE_PROCESSOR)))
        on = f"{few} in {arms.count(ONE_PROCESSOR)} on one processor"
        return Clue(70, Cause.RACE, f"{said}, {on}")
    return _left(arms, where, clue, said)


def _left(arms: Arms, where: str, clue: Clue, said: str) -> Clue:
    """Judge by exclusion what neither a seed nor a processor settles."""
    seeded = arms.count(SEEDED) > 0
    if clue.cause is Cause.PID:  # numbers of processes are the same in every ordinary run
        return Clue(35, Cause.TIME, f"a number that is new in each run; {said}")
    if clue.cause in _PERMUTED and (seeded or clue.cause is not Cause.HASH_SEED):
        return Clue(55, Cause.RACE, f"{clue.evidence}; {said}, with seeded randomness too")
    if clue.weight >= POOR:
        return clue._replace(evidence=f"{clue.evidence}; {said}")
    repeats = len(set(arms.values(where, CONTROL))) < arms.count(CONTROL)
    if seeded or repeats:
        return Clue(35, Cause.RACE, f"{said}; neither time nor randomness shows in it")
    return Clue(0, Cause.UNKNOWN, said)


def _settled(arms: Arms, where: str, arm: str) -> bool:
    """Tell whether the arm's runs agree, and would hardly do so if it made no difference."""
    made = arms.count(arm)
    if made < 2 or arms.varies(where, arm) or not any(arms.values(where, arm)):  # noqa: PLR2004
        return False  # that an output is in none of them does not say that it is settled
    return arms.agreement(where, CONTROL) ** (made - 1) < CHANCE


def _rarer(arms: Arms, where: str) -> bool:
    if arms.count(ONE_PROCESSOR) < arms.count(CONTROL):
        return False
    if not any(arms.values(where, ONE_PROCESSOR)):
        return False
    left = 1 - arms.agreement(where, ONE_PROCESSOR)
    return left <= _FEWER * (1 - arms.agreement(where, CONTROL))
