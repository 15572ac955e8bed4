"""Looks into results that were not the pinned one: where they differ, why, and who is wrong."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from dataclasses import replace

from cas.store import BlobStore
from cas.tree import TreeLimits
from determinism.arbiter import Arbiter, Judgement, Odd, Party
from determinism.attribution.cause import attributed
from determinism.attribution.clue import Circumstances
from determinism.difference import Attributed, Cause
from determinism.learning import helpful
from determinism.ledger.attributing import MAX_DIFFERENCES
from determinism.observation import Source
from determinism.outcome import outcome_of
from protos import remote_execution_pb2 as reapi
from re_server.background import survived
from re_server.comparison import Comparison, output_of
from re_server.reruns import UNRUNNABLE, Reruns
from re_server.witness import Conflict, Witness, span_of

log = logging.getLogger(__name__)

MAX_WAITING = 1000  # conflicts; what comes beyond is recorded without its causes


class Inquiry:
    """Takes one conflict after the other.

    reruns: None where nothing is executed or conflicts are not to be arbitrated.
    judged: how often each was the odd one out.
    """

    def __init__(
        self, witness: Witness, blobs: BlobStore, limits: TreeLimits, reruns: Reruns | None
    ) -> None:
        self._witness = witness
        self._blobs = blobs
        self._limits = limits
        self._reruns = reruns
        self._waiting: deque[Conflict] = deque()
        self._woken = asyncio.Event()
        self.judged: Counter[Odd] = Counter()

    def add(self, conflict: Conflict) -> None:
        """Have a conflict looked into."""
        if len(self._waiting) >= MAX_WAITING:
            log.warning("a conflict is not looked into: %d wait already", MAX_WAITING)
            return
        self._waiting.append(conflict)
        self._woken.set()

    async def run(self) -> None:
        """Look into what waits, for ever."""
        while True:
            await self._woken.wait()
            while self._waiting:
                conflict = self._waiting.popleft()
                with survived(f"looking into a conflict of action {conflict.key.action}"):
                    await self._look_into(conflict)
            self._woken.clear()

    async def _look_into(self, conflict: Conflict) -> None:
        differences = await self._attributed(conflict)
        self._keep(conflict, differences)
        if conflict.pin is None or conflict.execution is None or self._reruns is None:
            return
        try:
            judgement = await self._judgement(conflict, differences, self._reruns)
        except UNRUNNABLE as error:
            log.info("a conflict of action %s is not judged: %s", conflict.key.action, error)
            return
        self.judged[judgement.odd] += 1
        self._keep(conflict, [_judged(each, judgement) for each in differences])
        _tell(conflict, judgement)

    def _keep(self, conflict: Conflict, differences: list[Attributed]) -> None:
        if self._witness.ledger is not None:
            self._witness.ledger.attributed(conflict.number, differences, latent=False)

    async def _attributed(self, conflict: Conflict) -> list[Attributed]:
        if conflict.pin is None:
            return [
                Attributed(
                    where=each.where,
                    first=each.first,
                    then=each.then,
                    evidence="blobs of the first result are gone",
                )
                for each in conflict.decision.differences
            ]
        comparison = Comparison(self._blobs, conflict.key.action.function, self._limits)
        first_run, then_run = _circumstances(conflict, conflict.pin.kept.result)
        found: list[Attributed] = []
        formats: set[str] = set()
        pairs = comparison.pairs(conflict.pin.kept.result, conflict.new.result)
        async for difference, first, then in pairs:
            found += await asyncio.to_thread(
                attributed, difference, first, then, first_run, then_run
            )
            if first is not None and then is not None:
                formats |= await asyncio.to_thread(
                    helpful, difference.where, first, then, first_run, then_run
                )
            if len(found) >= MAX_DIFFERENCES:
                break
        if self._witness.ledger is not None:
            self._witness.ledger.learn(conflict.observation.program, formats)
        return found[:MAX_DIFFERENCES]

    async def _judgement(
        self, conflict: Conflict, differences: list[Attributed], reruns: Reruns
    ) -> Judgement:
        """Run the action again until it is clear whether it, the pin or one run is odd."""
        assert conflict.pin is not None
        pin, seen = conflict.pin, conflict.observation
        function = conflict.key.action.function
        arbiter = Arbiter(
            Party(
                outcome=outcome_of(pin.kept.result, function),
                worker=pin.kept.result.execution_metadata.worker,
                toolchain=pin.origin.toolchain,
                rules=_telling(conflict, pin.origin.rules),
            ),
            Party(
                outcome=seen.outcome,
                worker=seen.worker,
                toolchain=seen.toolchain,
                rules=_telling(conflict, seen.rules),
            ),
            _causes(conflict, differences),
        )
        while arbiter.wants_another():
            again = await reruns.run(conflict.key)
            self._witness.reran(conflict.key, again, Source.ARBITER)
            arbiter.observed(
                Party(
                    outcome=outcome_of(again.result, function),
                    worker=again.ran.worker,
                    toolchain=again.ran.toolchain,
                    rules=_telling(conflict, again.ran.report.rules),
                )
            )
        return arbiter.judgement()


def _telling(conflict: Conflict, rules: str) -> str:
    """Return `rules` if they can have made a difference: an output that differs was rewritten."""
    rewritten = conflict.observation.formats.keys()
    told = any(
        output_of(conflict.new.result, name) == each.where
        for each in conflict.decision.differences
        for name in rewritten
    )
    return rules if told else ""


def _causes(conflict: Conflict, differences: list[Attributed]) -> dict[str, Cause]:
    """Return the cause of each place of the results, where its contents say it."""
    causes: dict[str, Cause] = {}
    for each in differences:
        if each.cause is not Cause.UNKNOWN:
            causes.setdefault(output_of(conflict.new.result, each.where), each.cause)
    return causes


def _judged(place: Attributed, judgement: Judgement) -> Attributed:
    """Return `place` with the cause that runs have told, where they overrule its contents."""
    cause = judgement.odd.cause
    if cause is Cause.UNKNOWN:
        return place
    return replace(place, cause=cause, evidence=judgement.evidence)


def _circumstances(
    conflict: Conflict, pinned: reapi.ActionResult
) -> tuple[Circumstances, Circumstances]:
    """Return what is known of the run that made the pin, and of the other."""
    assert conflict.pin is not None
    seen = conflict.observation
    begun, ended = span_of(pinned)
    return (
        Circumstances(
            begun=begun,
            ended=ended,
            root=seen.root,  # it follows from the action
            worker=pinned.execution_metadata.worker,
            rules=_telling(conflict, conflict.pin.origin.rules),
            toolchain=conflict.pin.origin.toolchain,
        ),
        Circumstances(
            begun=seen.begun,
            ended=seen.ended,
            root=seen.root,
            worker=seen.worker,
            rules=_telling(conflict, seen.rules),
            toolchain=seen.toolchain,
        ),
    )


def _tell(conflict: Conflict, judgement: Judgement) -> None:
    key = conflict.key
    if judgement.odd is Odd.PIN:
        log.error(
            "the pin of action %s of instance %r is suspect, corrupt or poisoned: %s; see "
            "`holdfast pins show`, and `pins replace` or `pins drop`",
            key.action,
            key.instance,
            judgement.evidence,
        )
    elif judgement.odd is Odd.RUN:
        log.error("a result of action %s is suspect: %s", key.action, judgement.evidence)
    else:
        log.info("action %s: odd is %s: %s", key.action, judgement.odd, judgement.evidence)
