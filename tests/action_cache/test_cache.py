"""The action cache never lies: a hit is complete, and leased with all that it refers to."""

from __future__ import annotations

from pathlib import Path

from action_cache.cache import ActionCache
from tests.action_cache.stored import action, pin_of, stored
from tests.cas.disks import HOUR, LIMITS, Clock, file_of

KEY = action()


async def test_a_hit_is_leased_with_all_that_it_refers_to(tmp_path: Path) -> None:
    # REAPI rule: GetActionResult extends the lifetime of what the result refers to.
    clock = Clock()
    with stored(tmp_path, clock=clock) as here:
        cache = ActionCache(here.results, here.store.blobs)
        kept = await here.kept(b"1", b"2" * 5000)
        unrelated = await here.kept(b"3")
        await here.set(KEY, kept, pin_of(kept))
        assert await cache.get(KEY) == kept
        clock.now += LIMITS.lease_seconds - 1
        await here.store.room.evict(0)
        assert await cache.get(KEY) == kept
        assert await here.store.blobs.find_missing(unrelated.references) == unrelated.references
        assert (cache.hits, cache.misses, cache.incomplete) == (2, 0, 0)


async def test_a_hit_that_nobody_asks_for_goes_when_its_lease_has_ended(tmp_path: Path) -> None:
    clock = Clock()
    with stored(tmp_path, clock=clock) as here:
        cache = ActionCache(here.results, here.store.blobs)
        kept = await here.kept(b"1")
        await here.set(KEY, kept, pin_of(kept))
        assert await cache.get(KEY) == kept
        clock.now += 2 * LIMITS.lease_seconds + HOUR
        await here.store.room.evict(0)
        assert await cache.get(KEY) is None
        assert (cache.hits, cache.misses, cache.incomplete) == (1, 1, 0)


async def test_a_result_whose_file_has_vanished_is_incomplete_then_a_miss(tmp_path: Path) -> None:
    with stored(tmp_path) as here:
        cache = ActionCache(here.results, here.store.blobs)
        kept = await here.kept(b"1" * 5000)
        await here.set(KEY, kept, pin_of(kept))
        (digest,) = kept.references
        file_of(tmp_path, digest).unlink()
        assert await cache.get(KEY) is None
        assert await cache.get(KEY) is None
        assert (cache.hits, cache.misses, cache.incomplete) == (0, 1, 1)
