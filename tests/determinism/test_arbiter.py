from __future__ import annotations

import pytest
from hypothesis import given, settings as examples, strategies as st

from determinism.arbiter import MOST_RUNS, Arbiter, Judgement, Odd, Party
from determinism.difference import Cause
from determinism.outcome import Outcome

STREAMS = {"exit code": "0", "stdout": "", "stderr": ""}


def party(value: str, *, worker: str = "w", toolchain: str = "", rules: str = "") -> Party:
    outcome = Outcome({"out": value, "other": "same"}, STREAMS)
    return Party(outcome=outcome, worker=worker, toolchain=toolchain, rules=rules)


def judged(
    pin: Party, *runs: Party, causes: dict[str, Cause] | None = None
) -> tuple[Judgement, int]:
    """Give runs for as long as they are asked for; return what is judged, and how many were."""
    first, *later = runs
    arbiter = Arbiter(pin, first, causes)
    given = 1
    for run in later:
        if not arbiter.wants_another():
            break
        arbiter.observed(run)
        given += 1
    return arbiter.judgement(), given


def test_three_results_are_an_action_that_is_not_deterministic() -> None:
    judgement, given = judged(party("p"), party("x"), party("t"))
    assert (judgement.odd, given) == (Odd.EVERYBODY, 2)
    assert judgement.places == {"out": Odd.EVERYBODY}


def test_a_pin_that_no_run_gives_is_the_odd_one_out() -> None:
    judgement, given = judged(party("p", worker="bad"), *[party("x")] * 9)
    assert (judgement.odd, given) == (Odd.PIN, MOST_RUNS)
    assert judgement.odd.cause is Cause.CORRUPTION
    assert "'bad'" in judgement.evidence


def test_a_run_that_nobody_confirms_is_the_odd_one_out() -> None:
    judgement, given = judged(party("p"), party("x", worker="bad"), *[party("p")] * 9)
    assert (judgement.odd, given) == (Odd.RUN, 4)
    assert "'bad'" in judgement.evidence


@pytest.mark.parametrize("results", ["xpt", "xxp", "xxxxp", "xpx", "xxt", "xppx"])
def test_two_results_that_take_turns_accuse_nobody(results: str) -> None:
    judgement, _ = judged(party("p"), *map(party, results), *[party("t")] * 4)
    assert judgement.odd is Odd.EVERYBODY


def test_two_runs_are_too_few_to_accuse_a_pin() -> None:
    arbiter = Arbiter(party("p"), party("x"))
    arbiter.observed(party("x"))
    assert arbiter.judgement().odd is Odd.EVERYBODY
    assert arbiter.wants_another()


def test_a_date_that_runs_of_one_day_share_is_no_corruption() -> None:
    judgement, given = judged(party("p"), *[party("x")] * 9, causes={"out": Cause.TIME})
    assert (judgement.odd, given) == (Odd.EVERYBODY, 2)


def test_other_tools_or_rules_are_said_to_be() -> None:
    judgement, given = judged(
        party("p", toolchain="a"), party("x", toolchain="b"), party("x", toolchain="b")
    )
    assert (judgement.odd, given) == (Odd.TOOLCHAIN, 2)
    judgement, _ = judged(party("p", rules="zip.1"), *[party("x", rules="zip.2")] * 2)
    assert judgement.odd is Odd.RULES
    assert judgement.odd.cause is Cause.RULES
    assert "'zip.1', 'zip.2'" in judgement.evidence


def test_tools_do_not_excuse_runs_that_differ_under_the_same_ones() -> None:
    judgement, _ = judged(
        party("p", toolchain="a"), party("x", toolchain="b"), party("t", toolchain="b")
    )
    assert judgement.odd is Odd.EVERYBODY


def test_each_output_is_judged_by_itself() -> None:
    def both(one: str, two: str) -> Party:
        return Party(outcome=Outcome({"one": one, "two": two}, STREAMS))

    judgement, _ = judged(both("p", "p"), both("x", "x"), both("x", "t"))
    assert judgement.odd is Odd.EVERYBODY
    judgement, _ = judged(both("p", "p"), *[both("x", "p")] * 4)
    assert judgement.places == {"one": Odd.PIN}


@examples(deadline=None)
@given(st.lists(st.sampled_from("px"), min_size=MOST_RUNS, max_size=MOST_RUNS))
def test_a_pin_is_accused_only_if_no_run_gave_it(later: list[str]) -> None:
    judgement, given = judged(party("p"), party("x"), *map(party, later))
    if judgement.odd is Odd.PIN:
        assert set(later[: given - 1]) == {"x"}
    assert given <= MOST_RUNS


def test_results_that_agree_are_judged_so() -> None:
    assert judged(party("p"), party("p"), party("p"))[0].odd is Odd.NOBODY
