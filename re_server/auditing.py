"""Runs executed actions again under other conditions, to find what their results depend on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from action_cache.results import ActionKey, Pin
from cas.store import BlobStore
from cas.tree import TreeLimits
from determinism.attribution.cause import clue_of
from determinism.attribution.clue import CERTAIN, Circumstances, Clue
from determinism.attribution.compare import found_in
from determinism.attribution.place import Found
from determinism.audit import Audit, Conclusion, Settings
from determinism.difference import Attributed, Cause
from determinism.learning import helpful
from determinism.ledger.attributing import MAX_DIFFERENCES
from determinism.observation import Source
from determinism.outcome import outcome_of
from determinism.sampling import Sampler
from protos import remote_execution_pb2 as reapi
from re_config import determinism_tables
from re_server.background import survived
from re_server.comparison import Comparison, Pair, output_of
from re_server.executions import Reran
from re_server.reruns import UNRUNNABLE, Reruns
from re_server.witness import Witness, span_of

log = logging.getLogger(__name__)

OnRun = Callable[[str], object]
Wait = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Audited:
    """The end of one action's audit. differences: by place, with their causes."""

    conclusion: Conclusion
    differences: tuple[Attributed, ...]


class Auditor:
    """Audits what it is told to at once, and a sample of all actions when workers are idle.

    pins: returns an action's pin. audited: actions whose audit has ended.
    """

    def __init__(
        self,
        reruns: Reruns,
        witness: Witness,
        blobs: BlobStore,
        limits: TreeLimits,
        *,
        settings: determinism_tables.Audit,
        pins: Callable[[ActionKey], Awaitable[Pin | None]],
    ) -> None:
        self._pins = pins
        self._reruns = reruns
        self._witness = witness
        self._blobs = blobs
        self._limits = limits
        self._settings = settings
        self._sampler = Sampler(settings.sample) if settings.sample else None
        self.audited = 0
        self._waiting: deque[ActionKey] = deque()
        self._woken = asyncio.Event()

    def offer(self, key: ActionKey, program: str, seconds: float) -> None:
        """Take in an action that was executed: it may become one of the sample."""
        if self._sampler is None or seconds > self._settings.max_seconds:
            return
        room = len(self._waiting) < self._settings.max_waiting
        if self._sampler.offer(program, str(key.action)) and room:
            self._waiting.append(key)
            self._woken.set()

    async def run(self) -> None:
        """Audit the sample, for ever."""
        while True:
            await self._woken.wait()
            while self._waiting:
                key = self._waiting.popleft()
                with survived(f"the audit of action {key.action}"):
                    await self._sampled(key)
            self._woken.clear()

    async def _sampled(self, key: ActionKey) -> None:
        try:
            await self.audit(key, wait=self._reruns.idle)
        except UNRUNNABLE as error:
            log.info("action %s was not audited: %s", key.action, error)

    async def audit(
        self,
        key: ActionKey,
        *,
        runs: int = 0,
        on_run: OnRun = lambda arm: None,
        wait: Wait | None = None,
    ) -> Audited:
        """Audit one action. runs: for each factor; 0: as configured. wait: before each run.

        Raises UNRUNNABLE where it cannot be run.
        """
        office = await self._begun(key, wait)
        audit = Audit(office.outcome, Settings(runs=runs or self._settings.runs))
        while (run := audit.next_run()) is not None:
            if wait is not None:
                await wait()
            reran = await self._reruns.run(key, run.variation)
            found = await office.take(reran)
            audit.observed(
                run,
                outcome_of(reran.result, key.action.function),
                clues=found,
            )
            on_run(run.arm)
        conclusion = audit.conclusion()
        audited = Audited(conclusion, office.differences(conclusion))
        self._keep(key, office, audited)
        return audited

    async def _begun(self, key: ActionKey, wait: Wait | None) -> _Office:
        """Return the result that all others are held against.

        That is the pin, where a run with the same tools and rules comes now: the older it is, the
        slower the clocks that show. Else it is the result of that run.
        """
        if wait is not None:
            await wait()
        reran = await self._reruns.run(key)
        reference, run = reran.result, circumstances(reran)
        pin = await self._pins(key)
        known = (run.toolchain, run.rules)
        if pin is not None and run.toolchain and known == (pin.origin.toolchain, pin.origin.rules):
            reference = pin.kept.result
            begun, ended = span_of(reference)
            run = replace(run, begun=begun, ended=ended)
        office = _Office(self, key, reference, run)
        office.number, office.program = self.noted(key, reran), reran.ran.report.program
        return office

    def _keep(self, key: ActionKey, office: _Office, audited: Audited) -> None:
        self.audited += 1
        ledger = self._witness.ledger
        if ledger is None:
            return
        conclusion = audited.conclusion
        if audited.differences:
            ledger.attributed(office.number, audited.differences, latent=True)
            ledger.learn(office.program, office.formats)
        ledger.audited(key, differs=conclusion.differs, runs=conclusion.runs, at=time.time())

    async def pairs(
        self, key: ActionKey, first: reapi.ActionResult, then: reapi.ActionResult
    ) -> list[Pair]:
        comparison = Comparison(self._blobs, key.action.function, self._limits)
        return [pair async for pair in comparison.pairs(first, then)]

    def noted(self, key: ActionKey, reran: Reran) -> int:
        return self._witness.reran(key, reran, Source.AUDIT)


class _Office:
    """Compares each run of one audit with a reference, the result of `reference_run`.

    number: in the ledger, of a run that differed, or of the first. formats: those whose canonical
    forms would take differences out.
    """

    def __init__(
        self,
        auditor: Auditor,
        key: ActionKey,
        reference: reapi.ActionResult,
        reference_run: Circumstances,
    ) -> None:
        self._auditor = auditor
        self._key = key
        self._reference = reference
        self._reference_run = reference_run
        self.outcome = outcome_of(reference, key.action.function)
        self._places: dict[str, list[tuple[Clue, Attributed]]] = {}
        self.number = 0
        self.program = ""
        self.formats: set[str] = set()

    async def take(self, reran: Reran) -> Mapping[str, Clue]:
        """Return what the contents of each place that differs suggest."""
        number = self._auditor.noted(self._key, reran)
        clues: dict[str, Clue] = {}
        first_run, then_run = self._reference_run, circumstances(reran)
        for pair in await self._auditor.pairs(self._key, self._reference, reran.result):
            found = await asyncio.to_thread(found_in, *pair)
            judged = [(clue_of(each, first_run, then_run), each) for each in found]
            where = self._where(pair.difference.where)
            for clue, _ in judged:
                if where not in clues or clue.weight > clues[where].weight:
                    clues[where] = clue
            await self._learn(pair, first_run, then_run)
            self._remember(pair.difference.where, judged)
            self.number = number
        return clues

    async def _learn(self, pair: Pair, first_run: Circumstances, then_run: Circumstances) -> None:
        where, (first, then) = pair.difference.where, pair[1:]
        if where not in self._places and first is not None and then is not None:
            self.formats |= await asyncio.to_thread(
                helpful, where, first, then, first_run, then_run
            )

    def _where(self, where: str) -> str:
        return output_of(self._reference, where)

    def _remember(self, where: str, judged: list[tuple[Clue, Found]]) -> None:
        if where not in self._places and len(self._places) < MAX_DIFFERENCES:
            self._places[where] = [(clue, each.place) for clue, each in judged][:MAX_DIFFERENCES]

    def differences(self, conclusion: Conclusion) -> tuple[Attributed, ...]:
        """Return each place that differed, with the cause that runs and contents have told."""
        return tuple(
            _told(place, clue, self._where(where), conclusion)
            for where, places in self._places.items()
            for clue, place in places
        )[:MAX_DIFFERENCES]


def _told(place: Attributed, clue: Clue, where: str, conclusion: Conclusion) -> Attributed:
    """Return `place` with its cause: of what differs in any run, its own contents may say more."""
    if where in conclusion.unstable and clue.weight >= CERTAIN:
        return replace(place, cause=clue.cause, evidence=clue.evidence)
    return replace(
        place,
        cause=conclusion.latent.get(where, Cause.UNKNOWN),
        evidence=conclusion.evidence.get(where, ""),
    )


def circumstances(reran: Reran) -> Circumstances:
    """Return what is known of a run."""
    begun, ended = span_of(reran.result)
    return Circumstances(
        begun=begun,
        ended=ended,
        root=reran.ran.report.root,
        worker=reran.ran.worker,
        rules=reran.ran.report.rules,
        toolchain=reran.ran.toolchain,
    )
