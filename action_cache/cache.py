"""Results that are answered only while all that they refer to is there."""

from __future__ import annotations

from action_cache.results import ActionKey, Kept, ResultStore
from cas.store import BlobStore


class ActionCache:
    """The action cache never lies: a hit is complete, and leased with all that it refers to.

    Source: remote_execution.proto, ActionCache.GetActionResult.
    """

    def __init__(self, results: ResultStore, blobs: BlobStore) -> None:
        self._results = results
        self._blobs = blobs
        self.hits = 0
        self.misses = 0
        self.incomplete = 0

    async def get(self, key: ActionKey) -> Kept | None:
        """Return the result of `key`, whose blobs are all there and stay for their lease."""
        kept = await self._results.find(key)
        if kept is None:
            self.misses += 1
            return None
        if await self._blobs.find_missing(kept.references):
            self.incomplete += 1
            return None
        self.hits += 1
        return kept
