from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from action_cache.disk import INSTANCE_BYTES, PINS_AT_ONCE
from action_cache.mode import Mode
from action_cache.results import ActionKey, Kept, Slot
from cas.digest import Digest, DigestFunction
from cas.disk_index import key_of
from cas.environment import Read
from determinism.judge import Judge
from determinism.policy import Verdict
from tests.action_cache.stored import Stored, action, pin_of, stored
from tests.cas.disks import HOUR, Clock, file_of, truncate

KEY = action()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stored]:
    with stored(tmp_path) as made:
        yield made


async def test_what_is_kept_is_found_after_the_store_was_opened_again(tmp_path: Path) -> None:
    with stored(tmp_path) as here:
        kept = await here.kept(b"1", b"2" * 5000, worker="unusual")
        pin = replace(pin_of(kept), revision=3, agreements=4, conflicts=5, losses=1)
        await here.set(KEY, kept, pin)
    with stored(tmp_path) as here:
        assert await here.results.find(KEY) == kept
        assert await here.results.pin(KEY) == pin
        assert kept.result.execution_metadata.worker == "unusual"


async def test_an_action_that_is_not_known_has_nothing(here: Stored) -> None:
    assert await here.results.find(KEY) is None
    assert await here.results.pin(KEY) is None
    assert await here.slot(KEY) == Slot(None, None, intact=False)
    assert here.results.count_pins() == 0
    assert [pin async for pin in here.results.pins()] == []


async def test_a_change_is_told_what_there_is_and_answers_what_it_made(here: Stored) -> None:
    first, second = await here.kept(b"1"), await here.kept(b"2")
    after = await here.set(KEY, first, pin_of(first))
    assert after == Slot(first, pin_of(first), intact=True)
    assert await here.slot(KEY) == after
    await here.set(KEY, second, pin_of(first))
    assert await here.slot(KEY) == Slot(second, pin_of(first), intact=True)
    await here.set(KEY, None, None)
    assert await here.slot(KEY) == Slot(None, None, intact=False)
    assert here.referrers() == 0


async def test_a_change_that_raises_changes_nothing(here: Stored) -> None:
    kept = await here.kept(b"1")
    await here.set(KEY, kept, pin_of(kept))

    def fail(slot: Slot) -> Slot:
        raise LookupError("no")

    with pytest.raises(LookupError):
        await here.results.change(KEY, fail)
    assert await here.slot(KEY) == Slot(kept, pin_of(kept), intact=True)


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_an_entry_goes_with_any_blob_of_it_and_the_pin_stays(here: Stored, lost: int) -> None:
    outputs = [b"1", b"2" * 100, b"3" * 20_000]
    kept, other = await here.kept(*outputs), await here.kept(b"of another action")
    await here.set(KEY, kept, pin_of(kept))
    await here.set(action(1), other, pin_of(other))
    await here.drop([Digest.of(outputs[lost])])
    assert await here.results.find(KEY) is None
    assert await here.results.pin(KEY) == pin_of(kept)
    assert await here.slot(KEY) == Slot(None, pin_of(kept), intact=False)
    assert await here.results.find(action(1)) == other
    assert here.results.dropped == 1
    assert here.referrers() == 1


async def test_a_blob_takes_every_entry_with_it_that_refers_to_it(here: Stored) -> None:
    shared = await here.kept(b"shared", b"more")
    for number in range(20):
        await here.set(action(number), shared, pin_of(shared))
    await here.drop(shared.references)
    for number in range(20):
        assert await here.results.find(action(number)) is None
        assert await here.results.pin(action(number)) is not None
    assert here.results.dropped == 20
    assert here.referrers() == 0


async def test_a_blob_and_its_entries_go_in_one_transaction(here: Stored) -> None:
    kept = await here.kept(b"1")
    await here.set(KEY, kept)
    index, key = here.store.index, key_of(Digest.of(b"1"))

    def drop_and_fail(write: Read) -> None:
        assert index.drop(write, key)
        raise LookupError("after the drop")

    with pytest.raises(LookupError):
        await here.store.environment.write(drop_and_fail)
    assert await here.results.find(KEY) == kept
    assert await here.store.blobs.find_missing(kept.references) == set()
    assert here.referrers() == 1


async def test_evicted_blobs_take_their_entries_and_leased_ones_do_not(tmp_path: Path) -> None:
    clock = Clock()
    with stored(tmp_path, clock=clock) as here:
        cold, warm = await here.kept(b"cold" * 10_000), await here.kept(b"warm" * 10_000)
        await here.set(action(0), cold, pin_of(cold))
        await here.set(action(1), warm, pin_of(warm))
        clock.now += 2 * HOUR
        assert await here.store.blobs.find_missing(warm.references) == set()
        await here.store.room.evict(0)
        assert await here.results.find(action(0)) is None
        assert await here.results.find(action(1)) == warm
        assert (await here.slot(action(0))).intact is False
        assert (await here.slot(action(1))).intact is True


async def test_a_blob_that_is_found_to_be_damaged_takes_its_entries(tmp_path: Path) -> None:
    with stored(tmp_path) as here:
        kept = await here.kept(b"1" * 5000)
        await here.set(KEY, kept, pin_of(kept))
        (digest,) = kept.references
        truncate(file_of(tmp_path, digest), 10)
        assert await here.store.blobs.find_missing([digest]) == {digest}
        assert await here.slot(KEY) == Slot(None, pin_of(kept), intact=False)


async def test_an_entry_that_was_replaced_does_not_go_with_blobs_of_the_one_before(
    here: Stored,
) -> None:
    first, second = await here.kept(b"1"), await here.kept(b"2")
    await here.set(KEY, first)
    await here.set(KEY, second)
    await here.drop(first.references)
    assert await here.results.find(KEY) == second
    assert here.results.dropped == 0


async def test_the_empty_blob_is_always_there(here: Stored) -> None:
    # REAPI rule: the empty blob is present in every store and never uploaded.
    empty = Digest.of(b"")
    kept = Kept((await here.kept(b"1")).serialised, frozenset({empty, Digest.of(b"1")}))
    await here.set(KEY, kept, pin_of(kept))
    assert (await here.slot(KEY)).intact is True


async def test_a_pin_whose_blobs_came_back_is_healed_by_the_same_bytes(here: Stored) -> None:
    # Policy: a pin keeps its digests after its blobs are gone; the same bytes heal it.
    judge = Judge(here.results)
    first = await here.kept(b"1", worker="first run")
    await judge.settle(KEY, first, Mode.PIN)
    await here.drop(first.references)
    again = await here.kept(b"1", worker="second run")
    decision = await judge.settle(KEY, again, Mode.PIN)
    assert decision.verdict is Verdict.AGREED
    assert await here.results.find(KEY) == first
    pin = await here.results.pin(KEY)
    assert pin is not None
    assert (pin.kept, pin.revision, pin.losses, pin.agreements) == (first, 1, 0, 1)


async def test_other_bytes_supersede_a_pin_whose_blobs_are_gone_and_that_is_a_loss(
    here: Stored,
) -> None:
    # Policy: one that does not give the same bytes supersedes it, recorded as a loss.
    judge = Judge(here.results)
    first = await here.kept(b"1", b"and more")
    await judge.settle(KEY, first, Mode.PIN)
    await here.drop([Digest.of(b"and more")])
    other = await here.kept(b"2")
    assert (await judge.settle(KEY, other, Mode.PIN)).verdict is Verdict.SUPERSEDED
    assert await here.results.find(KEY) == other
    pin = await here.results.pin(KEY)
    assert pin is not None
    assert (pin.kept, pin.revision, pin.losses) == (other, 2, 1)


KEYS = [
    ActionKey("", Digest.of(b"a")),
    ActionKey("main", Digest.of(b"a")),
    ActionKey("main/", Digest.of(b"a")),
    ActionKey("mäin", Digest.of(b"a")),
    ActionKey("x" * 1000, Digest.of(b"a")),
    ActionKey("main", Digest.of(b"b")),
    ActionKey("main", Digest.of(b"a")._replace(size=2)),
    ActionKey("main", Digest.of(b"a", DigestFunction.SHA1)),
    ActionKey("main", Digest.of(b"a")._replace(function=DigestFunction.BLAKE3)),
]


async def test_instances_functions_and_sizes_are_told_apart(here: Stored) -> None:
    # REAPI rule: the size is part of the key, and functions of one length have their own keys.
    made = [await here.kept(b"%d" % number) for number in range(len(KEYS))]
    for key, kept in zip(KEYS, made, strict=True):
        await here.set(key, kept, pin_of(kept))
    for key, kept in zip(KEYS, made, strict=True):
        assert await here.results.find(key) == kept
    listed = {key: pin.kept async for key, pin in here.results.pins()}
    assert listed == dict(zip(KEYS, made, strict=True))
    assert here.results.count_pins() == len(KEYS)


@pytest.mark.parametrize("count", [1, PINS_AT_ONCE, 2 * PINS_AT_ONCE + 1])
async def test_all_pins_are_listed_once_however_many(here: Stored, count: int) -> None:
    kept = await here.kept(b"1")
    for number in range(count):
        await here.set(action(number, instance=f"i{number % 3}"), None, pin_of(kept))
    listed = [key async for key, _ in here.results.pins()]
    assert len(listed) == count
    assert set(listed) == {action(number, instance=f"i{number % 3}") for number in range(count)}
    assert here.results.count_pins() == count


async def test_pins_may_come_and_go_while_they_are_listed(here: Stored) -> None:
    kept = await here.kept(b"1")
    for number in range(PINS_AT_ONCE + 50):
        await here.set(action(number), None, pin_of(kept))
    seen: list[ActionKey] = []
    async for key, _ in here.results.pins():
        seen.append(key)
        if len(seen) == 1:
            for number in range(1000, 1100):
                await here.set(action(number), None, pin_of(kept))
            await here.set(key, None, None)
    assert len(seen) == len(set(seen))
    assert {action(number) for number in range(PINS_AT_ONCE + 50)} <= set(seen)


async def test_a_key_has_the_size_that_is_written_down(here: Stored) -> None:
    kept = await here.kept(b"1")
    await here.set(KEY, kept)
    with here.store.environment.read() as read:
        cursor = read.cursor(db=here.store.environment.database("results"))
        (packed,) = [key for key, _ in cursor]
    assert len(packed) == INSTANCE_BYTES + 1 + 32 + 8
