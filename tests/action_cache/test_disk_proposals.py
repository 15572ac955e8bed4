from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from action_cache.disk import DiskResults
from action_cache.disk_proposals import READ_AT_ONCE, ProposalLimits
from action_cache.mode import Mode
from action_cache.results import ActionKey, Kept, Origin, Proposal
from cas.digest import Digest
from determinism.judge import Judge
from determinism.policy import Verdict
from determinism.proposals import Standing
from tests.action_cache.stored import NOW, Stored, action, stored
from tests.cas.disks import Clock, opened

KEY = action()
DATABASES = ("proposals", "proposal_referrers", "proposal_order")
RIVALS = 32


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Stored]:
    with stored(tmp_path) as made:
        yield made


def proposal(writer: str, kept: Kept, *, after: float = 0) -> Proposal:
    return Proposal(writer, kept, NOW + after)


async def propose(here: Stored, key: ActionKey, *proposals: Proposal) -> None:
    """Have `proposals` be all that is proposed for `key`."""
    await here.results.change(key, lambda slot: replace(slot, proposals=proposals))


def rows(here: Stored) -> list[int]:
    """Return how many records there are in each database of proposals."""
    environment = here.store.environment
    opened = [environment.database(name, duplicates="referrers" in name) for name in DATABASES]
    with environment.read() as read:
        return [int(read.stat(database)["entries"]) for database in opened]


async def listed(here: Stored, instance: str | None = None) -> dict[ActionKey, list[str]]:
    return {
        key: [one.writer for one in proposals]
        async for key, proposals in here.results.proposals.by_action(instance)
    }


async def test_what_is_proposed_is_found_after_the_store_was_opened_again(tmp_path: Path) -> None:
    with stored(tmp_path) as here:
        own = replace(
            proposal("ann", await here.kept(b"1", b"2" * 5000)),
            comparable=False,
            origin=Origin("cc", "//a:b", "CppCompile", "an id"),
        )
        later = proposal("Beñ", await here.kept(b"3"), after=1)
        await propose(here, KEY, own, later)
    with stored(tmp_path) as here:
        assert await here.results.proposals.find(KEY, "ann") == own
        assert await here.results.proposals.find(KEY, "Beñ") == later
        assert await here.results.proposals.find(KEY, "eve") is None
        assert await here.results.proposals.find(action(1), "ann") is None
        assert (await here.slot(KEY)).proposals == (own, later)
        assert await here.results.find(KEY) is None
        assert here.results.proposals.count() == 2


async def test_a_proposal_goes_with_any_blob_of_it_and_others_stay(here: Stored) -> None:
    gone = proposal("ann", await here.kept(b"1", b"2" * 5000))
    stays = proposal("ben", await here.kept(b"1", b"3"))
    await propose(here, KEY, gone, stays)
    await here.drop([Digest.of(b"2" * 5000)])
    assert (await here.slot(KEY)).proposals == (stays,)
    assert here.results.proposals.expired == 1
    await here.drop([Digest.of(b"1")])
    assert rows(here) == [0, 0, 0]
    assert here.results.proposals.count() == 0


async def test_one_that_takes_anothers_place_leaves_nothing_of_it(here: Stored) -> None:
    first, second = await here.kept(b"1", b"2"), await here.kept(b"3")
    await propose(here, KEY, proposal("ann", first))
    before = rows(here)
    await propose(here, KEY, proposal("ann", second, after=1))
    assert rows(here) == [before[0], before[1] - 1, before[2]]
    await propose(here, KEY)
    assert rows(here) == [0, 0, 0]


async def test_the_oldest_of_a_writer_and_of_all_give_way(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        here = Stored(store, DiskResults(store.environment, store.index, ProposalLimits(3, 5)))
        kept = await here.kept(b"1")
        for number in range(4):
            await propose(here, action(number), proposal("ann", kept, after=number))
        assert await listed(here) == {action(number): ["ann"] for number in (1, 2, 3)}
        for number in range(4, 7):
            await propose(here, action(number), proposal("ben", kept, after=number))
        left = {action(number): ["ann" if number < 4 else "ben"] for number in range(2, 7)}
        assert await listed(here) == left
        assert here.results.proposals.expired == 2
        assert here.results.proposals.count() == 5


async def test_all_are_listed_by_action_once_however_many(here: Stored) -> None:
    kept = await here.kept(b"1")
    several = READ_AT_ONCE // 2 + 5
    for number in range(several):
        names = ("ann", "ben", "cem") if number % 2 else ("ann",)
        await propose(here, action(number), *(proposal(name, kept) for name in names))
    other = action(instance="other")
    await propose(here, other, proposal("ann", kept))
    found = await listed(here)
    assert len(found) == several + 1
    assert found[action(1)] == ["ann", "ben", "cem"]
    assert await listed(here, "other") == {other: ["ann"]}
    assert len(await listed(here, "main")) == several
    assert await listed(here, "absent") == {}


async def test_of_many_rivals_at_once_one_is_promoted_and_all_are_ruled_once(
    here: Stored,
) -> None:
    ruled: list[Proposal] = []
    judge = Judge(
        here.results, ruled=lambda key, shared, proposals: ruled.extend(proposals), clock=Clock()
    )
    kept = [await here.kept(b"1", worker=f"w {number}") for number in range(RIVALS)]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                judge.propose(KEY, one, Mode.PIN, writer=f"w {number}", confirmations=3)
            )
            for number, one in enumerate(kept)
        ]
    assert judge.proposed == {
        Standing.WAITING: 2,
        Standing.PROMOTED: 1,
        Standing.NEEDLESS: RIVALS - 3,
    }
    entry = await here.results.find(KEY)
    assert entry is not None
    answers = [task.result().answer for task in tasks]
    assert answers.count(entry) == RIVALS - 1  # two waited, and the entry is of one of them
    assert sorted(one.writer for one in ruled) == sorted(f"w {number}" for number in range(RIVALS))
    assert rows(here) == [0, 0, 0]
    pin = await here.results.pin(KEY)
    assert pin is not None
    assert (pin.kept, pin.agreements, pin.conflicts) == (entry, 0, 0)


@pytest.mark.parametrize("output", [b"1", b"2"])
async def test_a_trusted_result_is_everyones_and_ends_all_that_was_proposed(
    here: Stored, output: bytes
) -> None:
    ruled: list[tuple[Kept, list[str]]] = []
    judge = Judge(
        here.results,
        ruled=lambda key, shared, proposals: ruled.append(
            (shared, [one.writer for one in proposals])
        ),
    )
    for number, writer in enumerate(("ann", "ben")):
        own = await here.kept(b"%d" % (number + 1), worker=writer)
        await judge.propose(KEY, own, Mode.PIN, writer=writer, confirmations=2)
    run = await here.kept(output, worker="ci")
    decision = await judge.settle(KEY, run, Mode.PIN)
    assert (decision.verdict, decision.answer) == (Verdict.FIRST, run)
    assert ruled == [(run, ["ann", "ben"])]
    assert await here.results.find(KEY) == run
    assert rows(here) == [0, 0, 0]


async def test_an_ordinary_entry_leaves_what_writers_have_for_themselves(here: Stored) -> None:
    own = replace(proposal("ann", await here.kept(b"1")), comparable=False)
    await propose(here, KEY, own)
    await Judge(here.results).keep(KEY, await here.kept(b"2"))
    assert (await here.slot(KEY)).proposals == (own,)


async def test_who_gives_way_to_another_is_counted_and_who_is_settled_is_not(here: Stored) -> None:
    kept = await here.kept(b"1")
    ann, ben = proposal("ann", kept), proposal("ben", kept)
    await propose(here, KEY, ann)
    await propose(here, KEY, replace(ann, proposed=NOW + 1))
    await propose(here, KEY)
    assert here.results.proposals.expired == 0
    await propose(here, KEY, ann)
    await propose(here, KEY, ben)
    assert here.results.proposals.expired == 1
