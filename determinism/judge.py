"""Holds every new result against the first one of its action."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from action_cache.mode import Mode
from action_cache.results import UNKNOWN, ActionKey, Kept, Origin, ResultStore, Slot
from determinism.policy import Decision, Verdict, decide

log = logging.getLogger(__name__)

SHOWN = 3  # differences that a log line names


class Judge:
    """Decides with determinism.policy, keeps what was decided, counts it.

    settled: how often each verdict was given. clock: seconds since 1970.
    """

    def __init__(self, results: ResultStore, *, clock: Callable[[], float] = time.time) -> None:
        self._results = results
        self._clock = clock
        self.settled: Counter[Verdict] = Counter()

    async def settle(
        self,
        key: ActionKey,
        new: Kept,
        mode: Mode,
        *,
        replace: bool = False,
        origin: Origin = UNKNOWN,
    ) -> Decision:
        """Keep `new`, or what it is to give way to; atomic among all that settle `key`."""
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
            return decision.slot

        await self._results.change(key, settled)
        assert decision is not None
        self.settled[decision.verdict] += 1
        if decision.differences:
            _tell(key, decision)
        return decision

    async def keep(self, key: ActionKey, new: Kept) -> None:
        """Keep `new` as an ordinary entry: the last one wins, and nothing is compared."""
        await self._results.change(key, lambda slot: Slot(new, slot.pin, intact=slot.intact))
        self.settled[Verdict.UNPINNED] += 1


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
