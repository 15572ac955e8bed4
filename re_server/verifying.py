"""Runs actions of the server's own accord whose results were only proposed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import NamedTuple

from action_cache.mode import Mode
from action_cache.references import complete
from action_cache.results import ActionKey, Origin
from cas.digest import Digest
from cas.store import BlobStore
from cas.tree import InvalidMessage, TreeLimits, load_inputs
from determinism.judge import Judge
from determinism.sampling import Sampler
from re_config.determinism_tables import Proposals as Settings
from re_server.background import survived
from re_server.hits import Hits
from re_server.reruns import UNRUNNABLE, Reruns
from re_server.witness import Witness

log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    key: ActionKey
    mode: Mode
    root: Digest


class Verifier:
    """Runs a sample of those actions when workers are idle; what a run gives becomes everyone's.

    verified: runs whose result was kept.
    """

    def __init__(
        self,
        reruns: Reruns,
        judge: Judge,
        hits: Hits,
        witness: Witness,
        *,
        blobs: BlobStore,
        limits: TreeLimits,
        settings: Settings,
    ) -> None:
        self._reruns = reruns
        self._judge = judge
        self._hits = hits
        self._witness = witness
        self._blobs = blobs
        self._limits = limits
        self._max_waiting = settings.max_waiting
        self._sampler = Sampler(settings.verify)
        self._queue: deque[_Waiting] = deque()
        self._woken = asyncio.Event()
        self.verified = 0

    def offer(self, key: ActionKey, mode: Mode, program: str, root: Digest) -> None:
        """Take in an action of which a result waits: it may become one of the sample."""
        room = len(self._queue) < self._max_waiting
        if self._sampler.offer(program, str(key.action)) and room:
            self._queue.append(_Waiting(key, mode, root))
            self._woken.set()

    async def run(self) -> None:
        """Verify the sample, for ever."""
        while True:
            await self._woken.wait()
            while self._queue:
                waiting = self._queue.popleft()
                with survived(f"verifying what was proposed for action {waiting.key.action}"):
                    await self._reruns.idle()
                    await self.verify(*waiting)
            self._woken.clear()

    async def verify(self, key: ActionKey, mode: Mode, root: Digest) -> None:
        """Run the action if its inputs are all there, and keep its result as a worker's."""
        try:
            await load_inputs(self._blobs, root, self._limits)
            reran = await self._reruns.run(key)
        except (*UNRUNNABLE, InvalidMessage) as error:
            log.info("what was proposed for action %s is not verified: %s", key.action, error)
            return
        new = await complete(reran.result, key.action.function, self._blobs, self._limits)
        origin = Origin(
            program=reran.request.program,
            toolchain=reran.ran.toolchain,
            rules=reran.ran.report.rules,
        )
        decision = await self._judge.settle(key, new, mode, origin=origin)
        self._hits.forget(key)
        self._witness.verified(key, reran, new, decision, mode=mode)
        self.verified += 1
