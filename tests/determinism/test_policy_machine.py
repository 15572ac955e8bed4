"""The policy of pinning beside a model of it in plain variables: whatever happens, they agree."""

from __future__ import annotations

from hypothesis import settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from action_cache.mode import Mode
from action_cache.results import Kept, Slot
from determinism.policy import Verdict, decide
from tests.determinism.results import EMPTY, FIRST_SEEN, FUNCTION, kept

OUTPUTS = [b"1", b"2", b"3"]
outputs = strategies.sampled_from(OUTPUTS)


def output_in(result: Kept | None) -> bytes | None:
    """Return which of OUTPUTS a result has."""
    if result is None:
        return None
    return next(data for data in OUTPUTS if result.references == kept(data).references)


class PolicyBesideModel(RuleBasedStateMachine):
    """`slot` is what the policy makes of it; served, first and the counts are what it should be.

    served: the output that a hit has, None for a miss. there: whether the pin's blobs are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slot: Slot = EMPTY
        self.runs = 0
        self.first: bytes | None = None
        self.served: bytes | None = None
        self.there = False
        self.revision = 0
        self.agreements = self.conflicts = self.losses = 0

    @rule(output=outputs, mode=strategies.sampled_from(Mode), asked=strategies.booleans())
    def run(self, output: bytes, mode: Mode, *, asked: bool) -> None:
        """An action runs and gives `output`; its blobs are uploaded before that is settled."""
        self.runs += 1
        there = self.there or output == self.first
        new = kept(output, worker=f"run {self.runs}")
        slot = Slot(self.slot.entry, self.slot.pin, intact=there)
        decision = decide(
            slot, new, mode=mode, replace=asked, function=FUNCTION, now=FIRST_SEEN + self.runs
        )
        expected = self._expect(output, mode, asked=asked)
        assert decision.verdict is expected
        assert output_in(decision.answer) == self.served
        assert bool(decision.differences) == (
            expected in {Verdict.CONFLICT, Verdict.SUPERSEDED, Verdict.REPLACED}
        )
        self.slot = decision.slot

    def _expect(self, output: bytes, mode: Mode, *, asked: bool) -> Verdict:
        """Move the model on."""
        if mode is Mode.OFF:
            self.there = self.there or output == self.first
            self.served = output
            return Verdict.UNPINNED
        if self.first is None or self.first == output:
            verdict = Verdict.AGREED if self.first else Verdict.FIRST
            self.agreements += verdict is Verdict.AGREED
            self.revision = self.revision or 1
        elif asked or not self.there:
            verdict = Verdict.REPLACED if asked else Verdict.SUPERSEDED
            self.revision += 1
            self.losses += not asked
            self.conflicts += not asked
        else:
            self.conflicts += 1
            self.served = output if mode is Mode.OBSERVE else self.first
            return Verdict.CONFLICT
        self.first = self.served = output
        self.there = True
        return verdict

    @precondition(lambda self: self.first is not None)
    @rule()
    def lose(self) -> None:
        """Blobs of the pin go, and with them an entry that has the same."""
        self.there = False
        if self.served == self.first:
            self.served = None
            self.slot = Slot(None, self.slot.pin, intact=False)

    @invariant()
    def agree(self) -> None:
        assert output_in(self.slot.entry) == self.served
        pin = self.slot.pin
        if pin is None:
            assert self.first is None
            return
        assert output_in(pin.kept) == self.first
        counted = (pin.revision, pin.agreements, pin.conflicts, pin.losses)
        assert counted == (self.revision, self.agreements, self.conflicts, self.losses)
        assert pin.first_seen <= pin.last_seen


def test_the_policy_is_what_the_model_says() -> None:
    run_state_machine_as_test(
        PolicyBesideModel,
        settings=settings(max_examples=100, stateful_step_count=20, deadline=None, database=None),
    )
