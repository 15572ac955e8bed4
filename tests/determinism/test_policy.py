from __future__ import annotations

from dataclasses import replace

import pytest

from action_cache.mode import Mode
from action_cache.results import Kept, Pin, Slot
from determinism.policy import Decision, Verdict, decide
from tests.determinism.results import EMPTY, FIRST_SEEN, FUNCTION, kept, pinned

NOW = FIRST_SEEN + 100
FIRST, SAME, OTHER = kept(b"1"), kept(b"1", worker="another run"), kept(b"2")
COMPARING = [Mode.OBSERVE, Mode.PIN, Mode.STRICT]


def decided(slot: Slot, new: Kept, mode: Mode, *, asked: bool = False) -> Decision:
    return decide(slot, new, mode=mode, replace=asked, function=FUNCTION, now=NOW)


def pin_of(decision: Decision) -> Pin:
    assert decision.slot.pin is not None
    return decision.slot.pin


@pytest.mark.parametrize("slot", [EMPTY, pinned(FIRST), pinned(FIRST, intact=False)])
@pytest.mark.parametrize("asked", [False, True])
def test_off_keeps_the_newest_and_touches_no_pin(slot: Slot, *, asked: bool) -> None:
    decision = decided(slot, OTHER, Mode.OFF, asked=asked)
    assert decision == Decision(Verdict.UNPINNED, Slot(OTHER, slot.pin, intact=slot.intact), OTHER)


@pytest.mark.parametrize("mode", COMPARING)
@pytest.mark.parametrize("slot", [EMPTY, Slot(OTHER, None, intact=False)])
@pytest.mark.parametrize("asked", [False, True])
def test_what_has_no_pin_is_pinned(slot: Slot, mode: Mode, *, asked: bool) -> None:
    decision = decided(slot, FIRST, mode, asked=asked)
    pin = Pin(FIRST, first_seen=NOW, last_seen=NOW)
    assert decision == Decision(Verdict.FIRST, Slot(FIRST, pin, intact=True), FIRST)


@pytest.mark.parametrize("mode", COMPARING)
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("intact", [False, True])
def test_the_same_outputs_agree_and_the_first_run_is_answered(
    mode: Mode, *, intact: bool, asked: bool
) -> None:
    slot = pinned(FIRST, intact=intact)
    decision = decided(slot, SAME, mode, asked=asked)
    assert slot.pin is not None
    pin = replace(slot.pin, agreements=1, last_seen=NOW)
    assert decision == Decision(Verdict.AGREED, Slot(FIRST, pin, intact=True), FIRST)


@pytest.mark.parametrize("mode", [Mode.PIN, Mode.STRICT])
def test_a_difference_leaves_the_pin_which_is_answered(mode: Mode) -> None:
    slot = pinned(FIRST)
    decision = decided(slot, OTHER, mode)
    assert decision.verdict is Verdict.CONFLICT
    assert decision.answer == decision.slot.entry == FIRST
    assert slot.pin is not None
    assert decision.slot.pin == replace(slot.pin, conflicts=1, last_seen=NOW)
    assert [difference.where for difference in decision.differences] == ["out"]


def test_to_observe_is_to_count_a_difference_and_serve_the_newest() -> None:
    decision = decided(pinned(FIRST), OTHER, Mode.OBSERVE)
    assert decision.verdict is Verdict.CONFLICT
    assert decision.answer == decision.slot.entry == OTHER
    assert (pin_of(decision).kept, pin_of(decision).conflicts) == (FIRST, 1)
    assert decision.differences


def test_observed_again_the_first_result_is_an_agreement() -> None:
    observed = decided(pinned(FIRST), OTHER, Mode.OBSERVE)
    decision = decided(observed.slot, SAME, Mode.OBSERVE)
    assert decision.verdict is Verdict.AGREED
    assert decision.slot.entry == FIRST


@pytest.mark.parametrize("mode", COMPARING)
def test_where_blobs_of_the_pin_are_gone_another_result_takes_its_place_as_a_loss(
    mode: Mode,
) -> None:
    decision = decided(pinned(FIRST, intact=False), OTHER, mode)
    assert decision.verdict is Verdict.SUPERSEDED
    assert decision.answer == decision.slot.entry == pin_of(decision).kept == OTHER
    pin = pin_of(decision)
    assert (pin.revision, pin.losses, pin.conflicts, pin.first_seen) == (2, 1, 1, NOW)
    assert decision.differences


@pytest.mark.parametrize("mode", COMPARING)
@pytest.mark.parametrize("intact", [False, True])
def test_who_asks_to_replace_a_pin_makes_a_new_revision_and_no_loss(
    mode: Mode, *, intact: bool
) -> None:
    decision = decided(pinned(FIRST, intact=intact), OTHER, mode, asked=True)
    assert decision.verdict is Verdict.REPLACED
    assert decision.answer == decision.slot.entry == pin_of(decision).kept == OTHER
    pin = pin_of(decision)
    assert (pin.revision, pin.losses, pin.conflicts) == (2, 0, 0)


def test_what_was_counted_goes_on_in_a_new_revision() -> None:
    slot = decided(pinned(FIRST), SAME, Mode.PIN).slot
    slot = decided(slot, OTHER, Mode.PIN).slot
    slot = decided(slot, OTHER, Mode.PIN, asked=True).slot
    assert slot.pin is not None
    assert (slot.pin.revision, slot.pin.agreements, slot.pin.conflicts) == (2, 1, 1)


def test_a_stream_that_is_inline_heals_a_pin_whose_stream_is_gone() -> None:
    # Policy: a later run that gives the same bytes heals a pin; a hit on it is whole then.
    pin = kept(b"1", stdout=b"said")
    new = kept(b"1", stdout=b"said", inline=True)
    decision = decided(pinned(pin, intact=False), new, Mode.PIN)
    assert decision.verdict is Verdict.AGREED
    assert decision.slot.entry == pin_of(decision).kept == decision.answer == new
    assert (pin_of(decision).revision, pin_of(decision).losses) == (1, 0)
    assert decided(pinned(pin), new, Mode.PIN).slot.entry == pin
