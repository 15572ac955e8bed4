from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from action_cache.disk import DiskResults
from action_cache.mode import Mode
from action_cache.results import Kept
from cas.disk_open import OpenStore
from determinism.judge import Judge
from determinism.policy import Verdict
from tests.cas.disks import Clock, opened
from tests.determinism.results import KEY, kept

RIVALS = 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OpenStore]:
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def results(store: OpenStore) -> DiskResults:
    return DiskResults(store.environment, store.index)


async def uploaded(store: OpenStore, *outputs: bytes) -> list[Kept]:
    """Return a result for each of `outputs`, whose blobs are there."""
    made = [kept(data, worker=f"run {number}") for number, data in enumerate(outputs)]
    wanted = {digest: data for one, data in zip(made, outputs, strict=True)
              for digest in one.references}  # fmt: skip
    assert await store.blobs.write_many(wanted) == {}
    return made


async def test_of_many_results_at_once_one_is_pinned_and_all_are_answered_it(
    store: OpenStore, results: DiskResults
) -> None:
    # Policy: the first result wins, atomically.
    judge = Judge(results)
    rivals = await uploaded(store, *(b"%d" % number for number in range(RIVALS)))
    async with asyncio.TaskGroup() as group:
        settled = [group.create_task(judge.settle(KEY, new, Mode.PIN)) for new in rivals]
    answers = {task.result().answer for task in settled}
    pin = await results.pin(KEY)
    assert pin is not None
    assert answers == {pin.kept}
    assert await results.find(KEY) == pin.kept
    assert results.count_pins() == 1
    assert (pin.revision, pin.conflicts) == (1, RIVALS - 1)
    assert judge.settled == {Verdict.FIRST: 1, Verdict.CONFLICT: RIVALS - 1}
    firsts = [task.result() for task in settled if task.result().verdict is Verdict.FIRST]
    assert [one.answer for one in firsts] == [pin.kept]


async def test_every_verdict_is_counted(store: OpenStore, results: DiskResults) -> None:
    judge = Judge(results)
    first, other, third = await uploaded(store, b"1", b"2", b"3")
    expected: Counter[Verdict] = Counter()
    for new, mode, replace, verdict in [
        (first, Mode.OFF, False, Verdict.UNPINNED),
        (first, Mode.PIN, False, Verdict.FIRST),
        (first, Mode.STRICT, False, Verdict.AGREED),
        (other, Mode.STRICT, False, Verdict.CONFLICT),
        (other, Mode.OBSERVE, False, Verdict.CONFLICT),
        (other, Mode.PIN, True, Verdict.REPLACED),
    ]:
        decision = await judge.settle(KEY, new, mode, replace=replace)
        assert decision.verdict is verdict
        expected[verdict] += 1
    keys = _all(store)
    await store.environment.write(lambda write: [store.index.drop(write, key) for key in keys])
    await uploaded(store, b"", b"", b"3")
    assert (await judge.settle(KEY, third, Mode.PIN)).verdict is Verdict.SUPERSEDED
    expected[Verdict.SUPERSEDED] += 1
    assert judge.settled == expected


def _all(store: OpenStore) -> list[bytes]:
    """Return the keys of all blobs."""
    with store.environment.read() as read:
        return [key for key, _ in read.cursor(db=store.environment.database("blobs"))]


async def test_what_is_only_kept_is_not_compared_and_the_last_wins(
    store: OpenStore, results: DiskResults
) -> None:
    # Policy: entries whose Action has no input root are ordinary ones.
    judge = Judge(results)
    first, other = await uploaded(store, b"1", b"2")
    await judge.keep(KEY, first)
    await judge.keep(KEY, other)
    assert await results.find(KEY) == other
    assert await results.pin(KEY) is None
    assert judge.settled == {Verdict.UNPINNED: 2}


async def test_the_clock_says_when_a_result_was_first_and_last_seen(
    store: OpenStore, results: DiskResults
) -> None:
    clock = Clock()
    begun = clock.now
    judge = Judge(results, clock=clock)
    first, same, other = await uploaded(store, b"1", b"1", b"2")
    await judge.settle(KEY, first, Mode.PIN)
    clock.now += 10
    await judge.settle(KEY, same, Mode.PIN)
    pin = await results.pin(KEY)
    assert pin is not None
    assert (pin.first_seen, pin.last_seen) == (begun, begun + 10)
    clock.now += 10
    await judge.settle(KEY, other, Mode.PIN)
    pin = await results.pin(KEY)
    assert pin is not None
    assert (pin.first_seen, pin.last_seen) == (begun, begun + 20)


async def test_a_difference_is_told_to_the_operator_in_one_line(
    store: OpenStore, results: DiskResults, caplog: pytest.LogCaptureFixture
) -> None:
    judge = Judge(results)
    first, same, other = await uploaded(store, b"1", b"1", b"2")
    with caplog.at_level(logging.INFO, logger="determinism.judge"):
        await judge.settle(KEY, first, Mode.PIN)
        await judge.settle(KEY, same, Mode.PIN)
        assert caplog.records == []
        await judge.settle(KEY, other, Mode.PIN)
    (line,) = caplog.messages
    assert str(KEY.action) in line
    assert "'main' is not deterministic (conflict): out: " in line
