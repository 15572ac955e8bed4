"""What several services of a server hold, and so share."""

from __future__ import annotations

from dataclasses import dataclass

from access.admission import Admission
from action_cache.cache import ActionCache
from action_cache.disk import DiskResults
from action_cache.disk_proposals import ProposalLimits
from cas.disk_open import OpenStore
from cas.disk_room import LEASE_STEP
from cas.names import Presence
from cas.tree import TreeLimits
from determinism.judge import Judge
from determinism.ledger.store import Ledger
from re_config.bounds import tree_limits
from re_config.schema import Config
from re_server.access_assembly import admission_of
from re_server.afterwards import Afterwards
from re_server.hits import Hits
from re_server.instances import Instances
from re_server.overlay import Overlay
from re_server.review import Review
from re_server.upload_limit import UploadLimit
from re_server.witness import Witness


@dataclass(frozen=True, slots=True)
class Shared:
    """One of each in a server."""

    instances: Instances
    limits: TreeLimits
    upload_limit: UploadLimit
    results: DiskResults
    judge: Judge
    cache: ActionCache
    overlay: Overlay
    presence: Presence
    hits: Hits
    witness: Witness
    afterwards: Afterwards
    admission: Admission


def shared_parts(config: Config, store: OpenStore, ledger: Ledger | None) -> Shared:
    """Make them over an open store. ledger: None where none is kept."""
    bounds = config.determinism.proposals
    proposals = ProposalLimits(bounds.max_per_writer, bounds.max_proposals)
    results = DiskResults(store.environment, store.index, proposals)
    cache = ActionCache(results, store.blobs)
    limits, witness = tree_limits(config.limits), Witness(ledger)
    review = Review(witness, store.blobs, limits)
    return Shared(
        Instances(config.instances, config.default),
        limits,
        UploadLimit(config.server.max_blob_bytes),
        results,
        Judge(results, ruled=review.add),
        cache,
        Overlay(cache, results.proposals, store.blobs),
        *_memories(config, store),
        witness,
        Afterwards(review),
        admission_of(config),
    )


def _memories(config: Config, store: OpenStore) -> tuple[Presence, Hits]:
    """Remember what was told as long as a lease is longer than it was promised."""
    seconds = config.store.lease_seconds / LEASE_STEP
    presence, hits = Presence(seconds=seconds), Hits(seconds=seconds)
    store.blobs.on_drop(presence.forget)
    store.blobs.on_drop(hits.forget_all)
    return presence, hits
