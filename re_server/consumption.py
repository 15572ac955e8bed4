"""Which actions consumed which outputs, read from input trees after the fact."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from action_cache.results import ActionKey
from cas.digest import Digest
from cas.store import BlobStore
from cas.tree import InvalidMessage, MissingInputs, TreeLimits, TreeTooLarge, load_inputs
from determinism.ledger.store import Ledger

log = logging.getLogger(__name__)

MAX_WAITING = 10_000  # actions whose tree is still to be read; what comes beyond is left out
REMEMBERED_ROOTS = 10_000


class Consumption:
    """Reads input trees one after the other, beside everything else."""

    def __init__(self, ledger: Ledger, blobs: BlobStore, limits: TreeLimits) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._limits = limits
        self._waiting: OrderedDict[ActionKey, Digest] = OrderedDict()
        self._known: OrderedDict[ActionKey, None] = OrderedDict()
        self._woken = asyncio.Event()

    def add(self, key: ActionKey, input_root: Digest | None) -> None:
        """Note that an action with this input root has run."""
        if input_root is None or key in self._known or len(self._waiting) >= MAX_WAITING:
            return
        self._waiting[key] = input_root
        self._known[key] = None
        if len(self._known) > REMEMBERED_ROOTS:
            self._known.popitem(last=False)
        self._woken.set()

    async def run(self) -> None:
        """Read what waits, for ever."""
        while True:
            await self._woken.wait()
            while self._waiting:
                key, root = self._waiting.popitem(last=False)
                try:
                    tree = await load_inputs(self._blobs, root, self._limits)
                except (MissingInputs, InvalidMessage, TreeTooLarge) as error:
                    log.info("what action %s consumed is not known: %s", key.action, error)
                else:
                    self._ledger.consumed(key, tree.files)
            self._woken.clear()
