from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings as examples, strategies as st

from determinism.attribution.arms import CONTROL, EVERYTHING, SEEDED, SLOW
from determinism.attribution.clue import NOTHING, Clue
from determinism.attribution.factors import (
    SLOW_TICK_SECONDS,
    Factor,
    Ordinary,
    slow,
    varied,
)
from determinism.audit import Audit, Conclusion, Settings
from determinism.difference import Cause
from determinism.outcome import Outcome
from protos import worker_pb2 as wire

ORDINARY = Ordinary()
NOW = 1_795_390_626.0


@dataclass
class Action:
    """An action whose result is a function of what it is given.

    depends: factors that show in its output. grain: seconds of the clock that shows, 0 for none,
    heedless of SOURCE_DATE_EPOCH. random: whether it asks for randomness. race: probability of the
    other result, which one processor takes away. permutes: what differs is an order.
    clue: what the contents suggest where they differ with nothing varied.
    """

    depends: frozenset[Factor] = frozenset()
    grain: float = 0
    random: bool = False
    race: float = 0
    clue: Clue = NOTHING
    clock: float = NOW
    lot: Random = field(default_factory=lambda: Random(1))

    def run(self, variation: wire.Variation) -> Outcome:
        self.clock += variation.delay.ToNanoseconds() / 1e9
        begun, self.clock = self.clock, self.clock + 0.3
        shown = [str(self._value(factor, variation)) for factor in sorted(self.depends)]
        if self.grain:
            shown.append(str(begun // self.grain))
        if self.random:
            shown.append(variation.random_seed or str(self.lot.random()))
        if self.race and variation.processors != 1 and self.lot.random() < self.race:
            shown.append("late")
        output = {"out": " ".join(shown), "log": "same"}
        return Outcome(output, {"exit code": "0", "stdout": "", "stderr": ""})

    def _value(self, factor: Factor, variation: wire.Variation) -> object:
        environment = {**ORDINARY.environment, **variation.environment}
        values: dict[Factor, object] = {
            Factor.PATH: variation.root,
            Factor.PID: variation.skipped_pids,
            Factor.ORDER: variation.order_seed,
            Factor.MTIME: variation.modified // 2,
            Factor.HOST: variation.host_name,
            Factor.PROCESSORS: variation.processors,
            Factor.ADDRESSES: variation.randomised_addresses and self.lot.random(),
            Factor.HASH_SEED: environment["PYTHONHASHSEED"],
            Factor.ENVIRONMENT: environment["TZ"],
            Factor.TIME: environment["SOURCE_DATE_EPOCH"] or int(self.clock),
            Factor.RANDOM: variation.random_seed,
        }
        return values[factor]


def audited(
    action: Action, reference: Outcome | None = None, settings: Settings | None = None
) -> tuple[Conclusion, list[str]]:
    """Audit `action`; return what is concluded, and the arms of the runs that were made."""
    audit = Audit(reference, settings)
    arms: list[str] = []
    first = reference
    while (run := audit.next_run()) is not None:
        outcome = action.run(run.variation)
        first = first or outcome
        differs = {each.where for each in first.differences(outcome)}
        clues = dict.fromkeys(differs, action.clue) if action.clue.weight else {}
        audit.observed(run, outcome, clues=clues)
        arms.append(run.arm)
    return audit.conclusion(), arms


def test_an_action_that_never_differs_costs_a_few_runs() -> None:
    conclusion, arms = audited(Action())
    assert arms == [CONTROL, EVERYTHING, EVERYTHING, EVERYTHING]
    assert conclusion == Conclusion(
        differs=False, latent={}, evidence={}, unstable=frozenset(), runs=4, complete=True
    )


@pytest.mark.parametrize("factor", list(Factor))
def test_each_factor_is_blamed_for_what_depends_on_it_alone(factor: Factor) -> None:
    conclusion, _ = audited(Action(frozenset({factor})))
    assert conclusion.latent == {"out": factor.cause}
    assert conclusion.unstable == frozenset()
    assert conclusion.complete


@examples(deadline=None)
@given(depends=st.frozensets(st.sampled_from(Factor), min_size=1, max_size=4))
def test_all_factors_that_matter_are_named_and_no_other(depends: frozenset[Factor]) -> None:
    conclusion, _ = audited(Action(depends))
    assert conclusion.latent["out"] in {factor.cause for factor in depends}
    for factor in Factor:
        named = f"the {factor} varied" in conclusion.evidence["out"] or (
            f"with the {factor} it differs" in conclusion.evidence["out"]
        )
        assert named == (factor in depends)


@pytest.mark.parametrize("factor", [each for each in Factor if each is not Factor.PROCESSORS])
def test_a_rare_race_beside_it_does_not_blame_another_factor(factor: Factor) -> None:
    # A race that shows in the control arm hides the factor: no run tells them apart.
    for seed in range(50):
        action = Action(frozenset({factor}), race=0.05, lot=Random(seed))
        conclusion, _ = audited(action)
        if not conclusion.unstable:
            assert conclusion.latent["out"] is factor.cause


@examples(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_randomness_shows_in_a_seeded_arm(seed: int) -> None:
    conclusion, arms = audited(Action(random=True, lot=Random(seed)))
    assert conclusion.latent == {"out": Cause.RANDOM}
    assert conclusion.unstable == {"out"}
    assert arms.count(SEEDED) == Settings().runs


def test_an_order_that_follows_from_randomness_is_that_of_a_hash_table() -> None:
    action = Action(random=True, clue=Clue(55, Cause.RACE, "another order"))
    assert audited(action)[0].latent == {"out": Cause.HASH_SEED}


def test_a_latent_order_that_follows_from_randomness_is_too() -> None:
    action = Action(frozenset({Factor.RANDOM}), clue=Clue(55, Cause.RACE, "another order"))
    assert audited(action)[0].latent == {"out": Cause.HASH_SEED}


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.8])
def test_a_race_is_seldom_taken_for_something_else(rate: float) -> None:
    told = Counter(
        cause
        for seed in range(100)
        for cause in audited(Action(race=rate, lot=Random(seed)))[0].latent.values()
    )
    assert told[Cause.RACE] >= 0.9 * told.total() >= 0.9 * 50


def test_a_clock_of_seconds_is_known_by_the_times_of_runs() -> None:
    conclusion, _ = audited(Action(grain=1))
    assert conclusion.latent == {"out": Cause.TIME}


def test_a_clock_that_control_runs_do_not_see_go_on_is_found_by_delay() -> None:
    conclusion, arms = audited(Action(grain=2, clock=NOW - NOW % 2), settings=Settings(runs=3))
    assert conclusion.latent == {"out": Cause.TIME}
    assert SLOW not in arms


def test_a_clock_of_minutes_is_found_by_a_longer_delay() -> None:
    start = NOW - NOW % 60
    before = Action(grain=60, clock=start - 3600).run(wire.Variation())
    conclusion, arms = audited(Action(grain=60, clock=start), before)
    assert conclusion.latent == {"out": Cause.TIME}
    assert arms.count(SLOW) == 2


def test_a_reference_of_another_day_shows_a_clock_of_days() -> None:
    yesterday = Action(grain=86400, clock=NOW - 86400).run(wire.Variation())
    told = Action(grain=86400, clue=Clue(85, Cause.TIME, "each run wrote its own time"))
    conclusion, _ = audited(told, yesterday)
    assert conclusion.latent == {"out": Cause.TIME}
    conclusion, _ = audited(Action(grain=86400), yesterday)
    assert conclusion.latent == {"out": Cause.UNKNOWN}
    assert "not with the result that is known" in conclusion.evidence["out"]


def test_a_clue_that_is_certain_saves_runs() -> None:
    action = Action(random=True, clue=Clue(80, Cause.RANDOM, "name of a temporary file"))
    conclusion, arms = audited(action)
    assert conclusion.latent == {"out": Cause.RANDOM}
    assert conclusion.runs == len(arms) == 1 + 1 + 4


def test_the_number_of_runs_is_bounded() -> None:
    action = Action(frozenset(Factor))
    conclusion, arms = audited(action, settings=Settings(most=12))
    assert len(arms) == conclusion.runs == 12
    assert not conclusion.complete
    assert audited(Action(frozenset(Factor)))[0].runs <= Settings().most


def test_a_time_that_the_zone_shifts_is_a_time() -> None:
    action = Action(
        frozenset({Factor.ENVIRONMENT}), clue=Clue(85, Cause.TIME, "each run wrote its own time")
    )
    conclusion, _ = audited(action)
    assert conclusion.latent == {"out": Cause.TIME}
    assert "local time" in conclusion.evidence["out"]


def test_a_run_that_fails_once_hides_nothing_and_costs_little() -> None:
    audit = Audit(None)
    made = 0
    while (run := audit.next_run()) is not None:
        made += 1
        failed = made == 2
        outputs = {} if failed else {"out": "same"}
        streams = {"exit code": "1" if failed else "0", "stdout": "", "stderr": ""}
        audit.observed(run, Outcome(outputs, streams))
    assert made == 4
    assert audit.conclusion().latent == {"exit code": Cause.RACE}


def test_outputs_with_names_drawn_by_lot_are_random() -> None:
    audit = Audit(None)
    made = 0
    while (run := audit.next_run()) is not None:
        made += 1
        outcome = Outcome({f"out/s-{made}.o": "same"}, {"exit code": "0"})
        clue = Clue(40, Cause.RANDOM, "a name without a pattern")
        audit.observed(run, outcome, clues={"out/s-1.o": clue, f"out/s-{made}.o": clue})
    assert set(audit.conclusion().latent.values()) == {Cause.RANDOM}


def test_streams_and_exit_codes_are_places() -> None:
    audit = Audit(Outcome({}, {"exit code": "0", "stdout": "a", "stderr": ""}))
    while (run := audit.next_run()) is not None:
        code = "1" if run.variation.host_name else "0"
        streams = {"exit code": code, "stdout": run.variation.host_name, "stderr": ""}
        audit.observed(run, Outcome({}, streams))
    assert audit.conclusion().latent["exit code"] is Cause.HOST


def test_a_host_that_cannot_seed_randomness_is_not_asked_to() -> None:
    settings = Settings(ordinary=Ordinary(seeds=False))
    _, arms = audited(Action(random=True), settings=settings)
    assert SEEDED not in arms
    _, arms = audited(Action(frozenset({Factor.PATH})), settings=settings)
    assert Factor.RANDOM not in arms


@pytest.mark.parametrize("factor", [f for f in Factor if f not in {"addresses", "processors"}])
def test_no_two_runs_give_a_factor_the_same_value(factor: Factor) -> None:
    made = [varied([factor], number, ORDINARY) for number in range(1, 6)]
    assert len({run.SerializeToString(deterministic=True) for run in made}) >= 4
    assert all(
        Action(frozenset({factor}), clock=at).run(one)
        != Action(frozenset({factor}), clock=at).run(wire.Variation())
        for at, one in enumerate(made)
    )


def test_paths_are_absolute_and_of_many_lengths() -> None:
    roots = [varied([Factor.PATH], number, ORDINARY).root for number in range(1, 8)]
    assert all(root.startswith("/b/") and "//" not in root for root in roots)
    assert len({len(root) for root in roots}) == len(roots)


def test_a_slow_run_waits_for_a_clock_of_minutes() -> None:
    assert slow(1, ORDINARY).delay.ToSeconds() == SLOW_TICK_SECONDS
