"""Holds proposals against the result that became everyone's: who was right, and who was not."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from typing import NamedTuple

from action_cache.results import ActionKey, Kept, Proposal
from cas.store import BlobStore
from cas.tree import TreeLimits
from determinism.attribution.clue import Circumstances
from determinism.learning import alike
from determinism.outcome import Difference, outcome_of
from determinism.proposals import Ruling
from re_server.background import survived
from re_server.comparison import Comparison, Pair
from re_server.witness import Witness, span_of

log = logging.getLogger(__name__)

MAX_WAITING = 1000  # of what comes beyond, nothing is said
READ_BYTES = 256 << 20  # of outputs that differ, for one proposal
STREAMS = frozenset({"stdout", "stderr"})


class Case(NamedTuple):
    """What is to be reviewed. shared: what everyone is answered."""

    key: ActionKey
    shared: Kept
    proposals: tuple[Proposal, ...]


class Review:
    """Takes one case after the other, once all is answered. ruled: how often each was said.

    Outputs are compared, since they are what later actions read; where their bytes differ, by their
    canonical form. Nothing follows from it: the result that became everyone's stays.
    """

    def __init__(self, witness: Witness, blobs: BlobStore, limits: TreeLimits) -> None:
        self._witness = witness
        self._blobs = blobs
        self._limits = limits
        self._waiting: deque[Case] = deque()
        self._woken = asyncio.Event()
        self.ruled: Counter[Ruling] = Counter()

    def add(self, key: ActionKey, shared: Kept, proposals: tuple[Proposal, ...]) -> None:
        """Have proposals reviewed that came to their end."""
        if len(self._waiting) >= MAX_WAITING:
            log.warning("proposals are not reviewed: %d actions wait already", MAX_WAITING)
            self.ruled[Ruling.UNDECIDED] += len(proposals)
            return
        self._waiting.append(Case(key, shared, proposals))
        self._woken.set()

    async def run(self) -> None:
        """Review what waits, for ever."""
        while True:
            await self._woken.wait()
            await self.settle()
            self._woken.clear()

    async def settle(self) -> None:
        """Review what waits now."""
        while self._waiting:
            case = self._waiting.popleft()
            with survived(f"the review of what was proposed for action {case.key.action}"):
                for proposal in case.proposals:
                    await self._review(case, proposal)

    async def _review(self, case: Case, proposal: Proposal) -> None:
        ruling, where = await self._ruling(case, proposal)
        self.ruled[ruling] += 1
        self._witness.ruled(case.key, proposal, ruling)
        _tell(case.key, proposal, ruling, where)

    async def _ruling(self, case: Case, proposal: Proposal) -> tuple[Ruling, str]:
        """Return a ruling, and the output that it is about where it is not CONFIRMED."""
        function = case.key.action.function
        first, then = case.shared.result, proposal.kept.result
        if outcome_of(first, function).outputs == outcome_of(then, function).outputs:
            return Ruling.CONFIRMED, ""
        runs = [Circumstances(begun=begun, ended=ended)
                for begun, ended in (span_of(first), span_of(then))]  # fmt: skip
        undecided, read_bytes = "", 0
        async for pair in Comparison(self._blobs, function, self._limits).pairs(first, then):
            if pair.difference.where in STREAMS:
                continue
            read_bytes += len(pair.first or b"") + len(pair.then or b"")
            if read_bytes > READ_BYTES:
                return Ruling.UNDECIDED, pair.difference.where
            same = await _alike(pair, *runs)
            if same is False:
                return Ruling.REFUTED, pair.difference.where
            if same is None:
                undecided = pair.difference.where
        return (Ruling.UNDECIDED, undecided) if undecided else (Ruling.CONFIRMED, "")


async def _alike(pair: Pair, first_run: Circumstances, then_run: Circumstances) -> bool | None:
    """Tell whether the two are alike in canonical form; None where their bytes cannot be had."""
    if not _same_kind(pair.difference):
        return False
    if pair.first is None or pair.then is None:
        return None
    return await asyncio.to_thread(
        alike, pair.difference.where, pair.first, pair.then, first_run, then_run
    )


def _same_kind(difference: Difference) -> bool:
    """Tell whether there is a file in both, as executable, or a directory that cannot be read."""
    return _kind(difference.first) == _kind(difference.then) not in {"", "symlink", "directory"}


def _kind(text: str) -> str:
    """Return `symlink`, `tree`, `directory`, `file`, `executable`, or "" for nothing."""
    words = text.split(" ")
    if words[-1] == "executable":
        return "executable"
    return words[0] if words[0] in {"", "symlink", "tree", "directory"} else "file"


def _tell(key: ActionKey, proposal: Proposal, ruling: Ruling, where: str) -> None:
    if ruling is Ruling.CONFIRMED:
        log.info("action %s: what %r proposed is confirmed", key.action, proposal.writer)
    elif ruling is Ruling.UNDECIDED:
        log.info(
            "action %s: %s of what %r proposed differs from what became everyone's, and cannot be "
            "looked into",
            key.action,
            where,
            proposal.writer,
        )
    else:
        log.warning(
            "action %s of instance %r: what %r proposed is refuted: %s differs from what became "
            "everyone's; the writer is wrong, or the action is not deterministic",
            key.action,
            key.instance,
            proposal.writer,
            where,
        )
