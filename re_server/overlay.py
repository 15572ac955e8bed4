"""What a caller is answered: what everyone is, or else what it alone has proposed."""

from __future__ import annotations

from typing import NamedTuple

from access.identity import Right, current_identity
from action_cache.cache import ActionCache
from action_cache.disk_proposals import DiskProposals
from action_cache.results import ActionKey, Kept
from cas.store import BlobStore
from re_client.status import NotAllowed


class Found(NamedTuple):
    """own: it is the caller's proposal, for nobody else to see."""

    kept: Kept
    own: bool


class Overlay:
    """The action cache as each caller sees it.

    own_hits: misses of `cache` that were answered with the caller's proposal.
    """

    def __init__(self, cache: ActionCache, proposals: DiskProposals, blobs: BlobStore) -> None:
        self._cache = cache
        self._proposals = proposals
        self._blobs = blobs
        self.own_hits = 0

    def remembered(self) -> None:
        """Count a hit that was answered without a look-up."""
        self._cache.hits += 1

    async def find(self, key: ActionKey) -> Found | None:
        """Return what the caller is answered: all that it refers to is there, and leased."""
        kept = await self._cache.get(key)
        if kept is not None:
            return Found(kept, own=False)
        writer = current_identity.get().name
        proposal = await self._proposals.find(key, writer) if writer else None
        if proposal is None or await self._blobs.find_missing(proposal.kept.references):
            return None
        self.own_hits += 1
        return Found(proposal.kept, own=True)


def proposer(instance: str) -> str:
    """Return the caller's name if it may only propose results, "" if everyone takes its results.

    Raises NotAllowed if it may do neither.
    """
    caller = current_identity.get()
    if caller.may(Right.CACHE_WRITE, instance):
        return ""
    if not caller.may(Right.CACHE_PROPOSE, instance):
        raise NotAllowed(
            f"{caller.name!r} may not upload results in instance {instance!r}: that takes the "
            f"right {Right.CACHE_WRITE} or {Right.CACHE_PROPOSE}"
        )
    if not caller.name:
        raise NotAllowed(
            "results are proposed under a name, and callers without one are not told apart: give "
            f"each a name, or the right {Right.CACHE_WRITE}"
        )
    return caller.name
