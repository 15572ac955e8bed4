from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from action_cache.disk import PINS_AT_ONCE
from action_cache.disk_records import NAME_BYTES
from action_cache.mode import Mode
from action_cache.results import UNKNOWN, ActionKey, Kept, Origin, Slot
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
        origin = Origin("cc", "//a:b", "CppCompile", "an id", "a digest", "rules 7")
        pin = replace(pin_of(kept), revision=3, agreements=4, conflicts=5, losses=1, origin=origin)
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
    assert len(packed) == NAME_BYTES + 1 + 32 + 8


async def test_a_pin_of_a_version_that_knew_no_origins_is_read(tmp_path: Path) -> None:
    with stored(tmp_path) as here:
        kept = await here.kept(b"1")
        pin = replace(pin_of(kept), revision=3, agreements=4, conflicts=5, losses=1)
        await here.set(KEY, kept, pin)
        pins = here.store.environment.database("pins")

        def shorten(write: Read) -> None:
            """Write the record anew without its last field."""
            packed, record = next(iter(write.cursor(db=pins)))
            fields = msgspec.msgpack.decode(record)
            assert len(fields) == 9
            write.put(packed, msgspec.msgpack.encode(fields[:-1]), db=pins)

        await here.store.environment.write(shorten)
    with stored(tmp_path) as here:
        assert await here.results.pin(KEY) == pin
        assert pin.origin == UNKNOWN
        after = replace(pin, origin=Origin(program="cc"))
        await here.set(KEY, kept, after)
        assert await here.results.pin(KEY) == after


async def test_the_pins_of_one_instance_are_listed_without_the_others(here: Stored) -> None:
    kept = await here.kept(b"1")
    for number in range(2 * PINS_AT_ONCE):
        for instance in ("", "a", "a/b"):
            await here.set(action(number, instance=instance), None, pin_of(kept))
    for instance in ("", "a", "a/b"):
        listed = [key async for key, _ in here.results.pins(instance)]
        assert len(listed) == 2 * PINS_AT_ONCE
        assert {key.instance for key in listed} == {instance}
    assert [key async for key, _ in here.results.pins("absent")] == []


async def left_over(here: Stored, clock: Clock, target_bytes: int, *kept: Kept) -> list[bool]:
    """Evict, and tell for each of `kept` whether all of it is there."""
    clock.now += 2 * HOUR
    await here.store.room.evict(target_bytes)
    index = here.store.index
    with here.store.environment.read() as read:
        return [all(index.get(read, key_of(each)) for each in one.references) for one in kept]


SIZE = 1000


def outputs(seed: int) -> tuple[bytes, bytes]:
    return b"%d" % seed * SIZE, b"%d and more" % seed


async def three(here: Stored, clock: Clock) -> list[Kept]:
    """Pin three actions, an hour apart."""
    judge = Judge(here.results, clock=clock)
    made = []
    for number in range(3):
        made.append(await here.kept(*outputs(number)))
        await judge.settle(action(number), made[-1], Mode.PIN)
        clock.now += HOUR
    return made


async def test_what_is_known_to_be_irreproducible_is_evicted_last(tmp_path: Path) -> None:
    clock = Clock()
    with stored(tmp_path, clock=clock) as here:
        first, second, third = await three(here, clock)
        other = await here.kept(b"of another run")
        judge = Judge(here.results, clock=clock)
        assert (await judge.settle(action(0), other, Mode.PIN)).verdict is Verdict.CONFLICT
        size = sum(each.size for each in first.references)
        kept = (first, second, third, other)
        assert await left_over(here, clock, size, *kept) == [True, False, False, False]
        assert await here.results.find(action(0)) == first
        assert await left_over(here, clock, 0, *kept) == [False] * 4


@pytest.mark.parametrize("way", ["dropped", "superseded", "replaced by what agrees"])
async def test_what_is_no_pin_any_more_is_not_held(tmp_path: Path, way: str) -> None:
    clock = Clock()
    with stored(tmp_path, clock=clock) as here:
        first, second, third = await three(here, clock)
        judge = Judge(here.results, clock=clock)
        other = await here.kept(b"of another run")
        await judge.settle(action(0), other, Mode.PIN)
        match way:
            case "dropped":
                await here.set(action(0), None, None)
            case "superseded":
                await judge.settle(action(0), other, Mode.PIN, replace=True)
            case _:
                await here.set(action(0), first, pin_of(first))
        size = sum(each.size for each in third.references)
        left = await left_over(here, clock, size + 20, first, second, third)
        assert left == [False, False, True]


async def test_the_next_revision_of_an_irreproducible_pin_is_held_in_turn(tmp_path: Path) -> None:
    clock = Clock()
    with stored(tmp_path, clock=clock) as here:
        first, _, _ = await three(here, clock)
        judge = Judge(here.results, clock=clock)
        await here.drop(first.references)
        other = await here.kept(b"of another run" * 100)
        assert (await judge.settle(action(0), other, Mode.PIN)).verdict is Verdict.SUPERSEDED
        later = await here.kept(b"later" * 100)
        clock.now += HOUR
        size = sum(each.size for each in other.references)
        assert await left_over(here, clock, size, other, later) == [True, False]


async def test_a_blob_of_two_irreproducible_pins_is_held_for_either(tmp_path: Path) -> None:
    clock = Clock()
    with stored(tmp_path, clock=clock) as here:
        shared, plain = await here.kept(b"shared" * 100), await here.kept(b"plain" * 100)
        pin = replace(pin_of(shared), conflicts=1)
        await here.set(action(0), shared, pin)
        await here.set(action(1), shared, pin)
        await here.set(action(0), None, None)
        assert await left_over(here, clock, 600, shared, plain) == [True, False]
        await here.set(action(1), None, None)
        assert marks(here) == 0


async def test_a_pin_of_an_older_store_is_marked_at_its_next_conflict(here: Stored) -> None:
    kept = await here.kept(*outputs(1))
    await here.set(KEY, kept, replace(pin_of(kept), conflicts=1))
    database = here.store.environment.database("marks", duplicates=True)
    await here.store.environment.write(lambda write: write.drop(database, delete=False))
    other = await here.kept(b"of another run")
    await Judge(here.results).settle(KEY, other, Mode.PIN)
    assert marks(here) == len(kept.references)


def marks(here: Stored) -> int:
    database = here.store.environment.database("marks", duplicates=True)
    with here.store.environment.read() as read:
        return int(read.stat(database)["entries"])
