"""Holds every new result against the first one of its action."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace as replaced

from action_cache.mode import Mode
from action_cache.results import (
    UNKNOWN,
    ActionKey,
    Kept,
    Origin,
    Proposal,
    ResultStore,
    Slot,
)
from determinism.policy import Decision, Verdict, decide
from determinism.proposals import Proposed, Standing, propose

log = logging.getLogger(__name__)

Ruled = Callable[[ActionKey, Kept, tuple[Proposal, ...]], object]
"""Takes proposals that nobody is answered with any more, and what everyone is answered."""

SHOWN = 3  # differences that a log line names


class Judge:
    """Decides with determinism.policy and determinism.proposals, keeps what was decided, counts it.

    settled, proposed: how often each verdict and standing was given. ruled: told of each proposal
    that came to its end, once. clock: seconds since 1970.
    """

    def __init__(
        self,
        results: ResultStore,
        *,
        ruled: Ruled = lambda key, shared, proposals: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._results = results
        self._ruled = ruled
        self._clock = clock
        self.settled: Counter[Verdict] = Counter()
        self.proposed: Counter[Standing] = Counter()

    async def settle(
        self,
        key: ActionKey,
        new: Kept,
        mode: Mode,
        *,
        replace: bool = False,
        origin: Origin = UNKNOWN,
    ) -> Decision:
        """Keep `new`, or what it is to give way to; atomic among all that settle `key`.

        What was proposed for `key` is answered to nobody from then on.
        """
        decision: Decision | None = None

        def settled(slot: Slot) -> Slot:
            nonlocal decision
            decision = decide(
                slot,
                new,
                mode=mode,
                replace=replace,
                function=key.action.function,
                now=self._clock(),
                origin=origin,
            )
            if slot.proposals:
                decision = replaced(decision, ruled=slot.proposals)
            return decision.slot

        await self._results.change(key, settled)
        assert decision is not None
        self.settled[decision.verdict] += 1
        if decision.differences:
            _tell(key, decision)
        if decision.ruled:
            self._ruled(key, decision.answer, decision.ruled)
        return decision

    async def keep(self, key: ActionKey, new: Kept) -> None:
        """Keep `new` as an ordinary entry: the last one wins, and nothing is compared."""
        await self._results.change(key, lambda slot: replaced(slot, entry=new))
        self.settled[Verdict.UNPINNED] += 1

    async def propose(
        self,
        key: ActionKey,
        new: Kept,
        mode: Mode,
        *,
        writer: str,
        confirmations: int,
        comparable: bool = True,
        origin: Origin = UNKNOWN,
    ) -> Proposed:
        """Keep `new`, whose writer is not trusted, such that no other is answered with it alone.

        confirmations, comparable: see `determinism.proposals.propose` and Proposal. Atomic as
        `settle` is: of rivals, one is the last that it takes.
        """
        proposed: Proposed | None = None

        def settled(slot: Slot) -> Slot:
            nonlocal proposed
            proposal = Proposal(writer, new, self._clock(), comparable, origin)
            proposed = propose(
                slot,
                proposal,
                confirmations=confirmations,
                mode=mode,
                function=key.action.function,
            )
            return proposed.slot

        await self._results.change(key, settled)
        assert proposed is not None
        self.proposed[proposed.standing] += 1
        if proposed.promoted is not None:
            self.settled[proposed.promoted[1].verdict] += 1
        if proposed.ruled:
            self._ruled(key, proposed.answer, proposed.ruled)
        return proposed


def _tell(key: ActionKey, decision: Decision) -> None:
    shown = "; ".join(str(difference) for difference in decision.differences[:SHOWN])
    more = len(decision.differences) - SHOWN
    log.info(
        "action %s of instance %r is not deterministic (%s): %s%s",
        key.action,
        key.instance,
        decision.verdict,
        shown,
        f" and {more} more" if more > 0 else "",
    )
