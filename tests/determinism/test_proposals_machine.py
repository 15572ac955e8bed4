"""Many writers and one action, beside a model: who is answered what, whatever happens."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from action_cache.mode import Mode
from action_cache.results import Kept, Proposal, Slot
from determinism.policy import decide
from determinism.proposals import Standing, propose
from tests.determinism.results import EMPTY, FIRST_SEEN, FUNCTION, kept

OUTPUTS = [b"1", b"2", b"3"]
WRITERS = ["ann", "ben", "cem", "eve"]
CONFIRMATIONS = 2
outputs = strategies.sampled_from(OUTPUTS)
writers = strategies.sampled_from(WRITERS)


def output_in(result: Kept) -> bytes:
    return next(data for data in OUTPUTS if result.references == kept(data).references)


class ProposalsBesideModel(RuleBasedStateMachine):
    """`slot` is what the decisions make of it; the rest is what it should be.

    first: the output of the pin. there: whether the pin's blobs are. shared: what everyone is
    answered, None for a miss. proposed: what each writer proposes. vouched: outputs that a trusted
    run gave, or CONFIRMATIONS writers proposed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slot: Slot = EMPTY
        self.time = FIRST_SEEN
        self.first: bytes | None = None
        self.there = False
        self.shared: bytes | None = None
        self.proposed: dict[str, bytes] = {}
        self.vouched: set[bytes] = set()
        self.counts: Counter[str] = Counter()

    def _arrive(self, output: bytes) -> Slot:
        """Have the blobs of `output` come before a result that has them is settled."""
        self.time += 1
        self.there = self.there or output == self.first
        return Slot(self.slot.entry, self.slot.pin, self.there, self.slot.proposals)

    @rule(output=outputs, trusted=strategies.sampled_from([Mode.PIN, Mode.OBSERVE]))
    def run(self, output: bytes, trusted: Mode) -> None:
        """A worker or a trusted writer gives `output`: the policy is as it is without proposals."""
        before = self._arrive(output)
        new = kept(output, worker=f"run {self.time}")
        decision = decide(
            before, new, mode=trusted, replace=False, function=FUNCTION, now=self.time
        )
        self.slot = decision.slot
        self.proposed.clear()
        self.vouched.add(output)
        if self.first is None or self.first == output or not self.there:
            self.counts["conflicts"] += self.first not in {None, output}
            self.first, self.shared, self.there = output, output, True
        else:
            self.counts["conflicts"] += 1
            self.shared = self.first if trusted is Mode.PIN else output

    @rule(writer=writers, output=outputs)
    def propose(self, writer: str, output: bytes) -> None:
        before = self._arrive(output)
        new = Proposal(writer, kept(output, worker=writer), self.time)
        decided = propose(
            before, new, confirmations=CONFIRMATIONS, mode=Mode.PIN, function=FUNCTION
        )
        self.slot = decided.slot
        assert decided.standing is self._expect(writer, output)
        assert output_in(decided.answer) == (self.shared or output)

    def _expect(self, writer: str, output: bytes) -> Standing:
        """Move the model on."""
        if self.shared is not None or self.there:
            self.shared = self.shared or self.first
            self.proposed.clear()
            return Standing.NEEDLESS
        self.proposed[writer] = output
        others = {other: said for other, said in self.proposed.items() if other != writer}
        same = sum(said == output for said in self.proposed.values())
        if self.first is None and same >= CONFIRMATIONS:
            self.vouched.add(output)
            self.first, self.shared, self.there = output, output, True
            self.proposed.clear()
            return Standing.PROMOTED
        return Standing.WAITING if set(others.values()) <= {output} else Standing.CONFLICTING

    @rule(output=outputs)
    def evict(self, output: bytes) -> None:
        """The blobs of `output` go, and all that refers to them but a pin."""
        self.there = self.there and output != self.first
        self.shared = None if self.shared == output else self.shared
        self.proposed = {writer: said for writer, said in self.proposed.items() if said != output}
        entry = self.slot.entry
        self.slot = Slot(
            None if entry is not None and output_in(entry) == output else entry,
            self.slot.pin,
            self.there,
            tuple(one for one in self.slot.proposals if output_in(one.kept) != output),
        )

    @invariant()
    def nobody_is_answered_what_only_another_has_proposed(self) -> None:
        own = {each.writer: output_in(each.kept) for each in self.slot.proposals}
        assert len(own) == len(self.slot.proposals)
        for writer in [*WRITERS, "somebody else"]:
            answer = output_in(self.slot.entry) if self.slot.entry else own.get(writer)
            assert answer in {None, self.proposed.get(writer), *self.vouched}

    @invariant()
    def agree(self) -> None:
        assert (output_in(self.slot.entry) if self.slot.entry else None) == self.shared
        assert {one.writer: output_in(one.kept) for one in self.slot.proposals} == self.proposed
        assert (output_in(self.slot.pin.kept) if self.slot.pin else None) == self.first
        conflicts = self.slot.pin.conflicts if self.slot.pin else 0
        assert conflicts == self.counts["conflicts"]


def test_nobody_is_answered_a_result_that_only_another_has_proposed() -> None:
    run_state_machine_as_test(
        ProposalsBesideModel,
        settings=settings(max_examples=60, stateful_step_count=25, deadline=None, database=None),
    )
