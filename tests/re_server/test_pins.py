"""Pins as people handle them, over a store: chosen, replaced, dropped, taken over."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from action_cache.mode import Mode
from action_cache.results import ActionKey, Origin, Pin
from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.tree import MissingInputs, TreeLimits
from cas.wire import digest_to
from determinism.judge import Judge
from protos import admin_pb2 as admin, remote_execution_pb2 as reapi, worker_pb2
from re_client.status import NotServed, Overloaded, Refused, Unserved
from re_config.determinism_tables import Instance
from re_server.executions import Reran, Rerun
from re_server.hits import Hit, Hits
from re_server.instances import Instances
from re_server.pin_filter import selection_of
from re_server.pin_message import pin_message
from re_server.pins import AT_ONCE, Pins, Run
from re_server.reruns import RerunFailed
from scheduler.attached import Ran
from scheduler.queue import Draining, QueueFull
from scheduler.request import Rewriting
from tests.action_cache.stored import NOW, Stored, action, pin_of, stored

INSTANCES = Instances({"main": Instance(), "other": Instance()}, Instance())
KEY = action()
ORIGINS = [
    Origin("cc", "//lib:a", "CppCompile", "build 1", "tools 1", "rules 1"),
    Origin("cc", "//lib:b", "CppCompile", "build 2", "tools 1", "rules 1"),
    Origin("rustc", "//bin:c", "Rustc", "build 2", "tools 2", "rules 1"),
    Origin(),
]

RERUN = Rerun(
    instance=KEY.instance,
    action=KEY.action,
    platform=(),
    priority=0,
    invocation="",
    input_root=None,
    named=(),
    timeout_seconds=10,
    rewriting=Rewriting(),
    mergeable=False,
    fresh=True,
    program="cc1",
)


class Desk:
    """Pins over a store, and how to look at what became of them."""

    def __init__(self, here: Stored, run: Run | None = None) -> None:
        self.here = here
        self.results = here.results
        self.judge = Judge(here.results)
        self.hits = Hits(seconds=1000)
        self.hits.get(b"")
        self.pins = Pins(
            INSTANCES,
            blobs=here.store.blobs,
            results=here.results,
            judge=self.judge,
            hits=self.hits,
            limits=TreeLimits(),
            rerun=run,
        )

    async def pin(self, key: ActionKey, origin: Origin = ORIGINS[0], *, age: float = 0) -> Pin:
        """Pin a result of its own for `key`. age: seconds."""
        kept = await self.here.kept(b"of %s" % str(key).encode(), worker=f"w-{origin.program}")
        pin = replace(pin_of(kept), origin=origin, first_seen=NOW - age, last_seen=NOW)
        await self.here.set(key, kept, pin)
        return pin

    async def chosen(self, filter: admin.PinFilter) -> set[ActionKey]:
        return {key async for key, _ in self.pins.chosen(selection_of(filter, INSTANCES))}

    async def dropped(self, filter: admin.PinFilter, *, dry_run: bool = False) -> int:
        return await self.pins.drop(selection_of(filter, INSTANCES), dry_run=dry_run)

    async def taken(self, *pins: admin.Pin) -> tuple[int, int, int]:
        async def stream() -> AsyncIterator[admin.Pin]:
            for pin in pins:
                yield pin

        counts = await self.pins.take_over(stream())
        return counts.imported, counts.kept, counts.incomplete

    def remember(self, key: ActionKey) -> bytes:
        """Remember an answer for `key`; return its request."""
        request = str(key).encode()
        self.hits.add(request, Hit(key, b"an answer", ()), self.hits.moment)
        assert self.hits.get(request) is not None
        return request


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with stored(tmp_path) as here:
        yield Desk(here)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (admin.PinFilter(), {0, 1, 2, 3}),
        (admin.PinFilter(instance_name="main"), {0, 1, 2}),
        (admin.PinFilter(instance_name="other"), {3}),
        (admin.PinFilter(program="cc"), {0, 1}),
        (admin.PinFilter(program="c"), set()),
        (admin.PinFilter(program="*c"), {0, 1, 2}),
        (admin.PinFilter(program="*"), {0, 1, 2, 3}),
        (admin.PinFilter(program="CC"), set()),
        (admin.PinFilter(target="//lib:*"), {0, 1}),
        (admin.PinFilter(target="//lib:[!a]"), {1}),
        (admin.PinFilter(target="//*", mnemonic="Rustc"), {2}),
        (admin.PinFilter(mnemonic="Cpp?ompile", invocation="build 2"), {1}),
        (admin.PinFilter(invocation="build 2"), {1, 2}),
        (admin.PinFilter(toolchain="tools 2"), {2}),
        (admin.PinFilter(worker="w-cc"), {0, 1}),
        (admin.PinFilter(worker="w-"), {3}),
        (admin.PinFilter(conflicting=True), {2}),
        (admin.PinFilter(conflicting=True, program="cc"), set()),
        (admin.PinFilter(program="cc\n"), set()),
    ],
    ids=count(),
)
async def test_a_filter_passes_what_has_all_that_it_says(
    desk: Desk, filter: admin.PinFilter, expected: set[int]
) -> None:
    keys = [action(0), action(1), action(2), action(3, instance="other")]
    for key, origin in zip(keys, ORIGINS, strict=True):
        pin = await desk.pin(key, origin)
        if origin.program == "rustc":
            await desk.here.set(key, pin.kept, replace(pin, conflicts=2))
    assert await desk.chosen(filter) == {keys[number] for number in expected}
    assert await desk.dropped(filter, dry_run=True) == len(expected)
    assert await desk.dropped(filter) == len(expected)
    assert await desk.chosen(admin.PinFilter()) == {
        key for number, key in enumerate(keys) if number not in expected
    }


async def test_pins_are_chosen_by_time_from_and_before(desk: Desk) -> None:
    for number in range(4):
        await desk.pin(action(number), age=number * 100)
    filter = admin.PinFilter()
    filter.since.FromSeconds(int(NOW) - 200)
    assert await desk.chosen(filter) == {action(0), action(1), action(2)}
    filter.until.FromSeconds(int(NOW) - 100)
    assert await desk.chosen(filter) == {action(2)}
    filter.ClearField("since")
    assert await desk.chosen(filter) == {action(2), action(3)}


@pytest.mark.parametrize("instance", [None, "main"])
async def test_pins_are_chosen_by_digest_of_whatever_function(
    desk: Desk, instance: str | None
) -> None:
    data = b"a" * 2000  # of up to 1024 bytes SHA256TREE's hash is SHA256's
    keys = [ActionKey("main", Digest.of(data, function)) for function in DigestFunction]
    keys.append(ActionKey("other", Digest.of(data)))
    for key in (*keys, action(7)):
        await desk.pin(key)
    for key in keys[:-1]:
        named = admin.PinFilter(instance_name=instance, action_digests=[digest_to(key.action)])
        same = {key, keys[-1]} if key.action == keys[-1].action and instance is None else {key}
        assert await desk.chosen(named) == same
    both = admin.PinFilter(
        instance_name=instance, action_digests=[digest_to(key.action) for key in keys[:2]]
    )
    both.program = "absent"
    assert await desk.chosen(both) == set()


def test_a_filter_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(NotServed, match="absent"):
        selection_of(admin.PinFilter(instance_name="absent"), INSTANCES)
    for hash in ("", "x" * 64, "a" * 63):
        with pytest.raises(InvalidDigest):
            selection_of(
                admin.PinFilter(action_digests=[reapi.Digest(hash=hash, size_bytes=1)]), INSTANCES
            )
    early = admin.PinFilter()
    early.since.seconds = -1
    with pytest.raises(Refused, match=r"filter\.since"):
        selection_of(early, INSTANCES)


@pytest.mark.parametrize(
    ("filter", "narrow"),
    [
        (admin.PinFilter(), False),
        (admin.PinFilter(instance_name="main"), False),
        (admin.PinFilter(instance_name="main", target="*"), True),
        (admin.PinFilter(worker="w"), True),
        (admin.PinFilter(conflicting=True), True),
        (admin.PinFilter(action_digests=[digest_to(KEY.action)]), True),
    ],
    ids=count(),
)
def test_a_filter_is_narrow_if_it_says_more_than_an_instance(
    filter: admin.PinFilter, *, narrow: bool
) -> None:
    assert selection_of(filter, INSTANCES).narrow is narrow


async def test_what_is_dropped_is_a_miss_at_once(desk: Desk) -> None:
    keys = [action(number) for number in range(2 * AT_ONCE + 3)]
    for key in keys:
        await desk.pin(key)
    requests = [desk.remember(key) for key in keys]
    moment = desk.hits.moment
    assert await desk.dropped(admin.PinFilter(program="cc")) == len(keys)
    assert [desk.hits.get(request) for request in requests] == [None] * len(keys)
    desk.hits.add(b"worked out before", Hit(keys[0], b"", ()), moment)
    assert desk.hits.get(b"worked out before") is None
    for key in keys:
        assert await desk.results.find(key) is None
        assert await desk.results.pin(key) is None
    assert desk.here.referrers() == 0


async def test_after_a_drop_the_next_result_is_the_first(desk: Desk) -> None:
    await desk.pin(KEY)
    await desk.dropped(admin.PinFilter(program="cc"))
    other = await desk.here.kept(b"other")
    decision = await desk.judge.settle(KEY, other, Mode.PIN)
    assert decision.answer == other
    assert (await desk.pins.get(KEY)).revision == 1


async def test_a_result_that_is_given_becomes_the_pin(desk: Desk) -> None:
    before = await desk.pin(KEY)
    request = desk.remember(KEY)
    other = (await desk.here.kept(b"other", worker="")).result
    after = await desk.pins.replace(KEY, other)
    assert (after.revision, after.losses, after.conflicts) == (2, 0, 0)
    assert after.kept.result.output_files[0].digest.hash == Digest.of(b"other").hash
    assert after.kept.result.execution_metadata.worker == "uploaded"
    assert after.origin == Origin("cc", "//lib:a", "CppCompile")
    assert await desk.pins.get(KEY) == after
    assert await desk.results.find(KEY) == after.kept
    assert desk.hits.get(request) is None
    assert after.first_seen > 0
    assert before.revision == 1


async def test_replacing_by_the_same_result_changes_no_revision(desk: Desk) -> None:
    before = await desk.pin(KEY)
    after = await desk.pins.replace(KEY, before.kept.result)
    assert (after.kept, after.revision, after.agreements) == (before.kept, 1, 1)


async def test_what_cannot_become_the_pin_is_refused_and_changes_nothing(desk: Desk) -> None:
    there = (await desk.here.kept(b"there")).result
    with pytest.raises(NotServed, match="has no pin"):
        await desk.pins.replace(KEY, there)
    before = await desk.pin(KEY)
    gone = reapi.ActionResult()
    gone.output_files.add(path="out", digest=digest_to(Digest.of(b"not uploaded")))
    with pytest.raises(MissingInputs):
        await desk.pins.replace(KEY, gone)
    there.exit_code = 1
    with pytest.raises(Refused, match="exit code 1"):
        await desk.pins.replace(KEY, there)
    with pytest.raises(Unserved, match="nothing is executed here"):
        await desk.pins.replace(KEY, None)
    assert await desk.pins.get(KEY) == before


async def test_a_new_run_becomes_the_pin(tmp_path: Path) -> None:
    with stored(tmp_path) as here:
        other = (await here.kept(b"other", worker="w 2")).result

        async def run(key: ActionKey) -> Reran:
            assert key == KEY
            ran = Ran("w 2", "tools 9", worker_pb2.Report(rules="rules 9"))
            return Reran(other, ran, RERUN)

        desk = Desk(here, run)
        await desk.pin(KEY)
        after = await desk.pins.replace(KEY, None)
        assert after.kept.result == other
        assert after.origin == Origin("cc1", "//lib:a", "CppCompile", "", "tools 9", "rules 9")
        assert after.revision == 2


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (RerunFailed("it ended with 1"), Unserved),
        (QueueFull(7), Overloaded),
        (Draining(), ConnectionError),
    ],
)
async def test_a_run_that_comes_to_nothing_is_told_and_the_pin_stays(
    tmp_path: Path, raised: Exception, told: type[Exception]
) -> None:
    async def run(key: ActionKey) -> Reran:
        raise raised

    with stored(tmp_path) as here:
        desk = Desk(here, run)
        before = await desk.pin(KEY)
        with pytest.raises(told):
            await desk.pins.replace(KEY, None)
        assert await desk.pins.get(KEY) == before


async def test_pins_are_taken_over_with_their_history(tmp_path: Path) -> None:
    with stored(tmp_path / "from") as here:
        desk = Desk(here)
        pins = {}
        for number in range(AT_ONCE + 5):
            pin = await desk.pin(action(number), ORIGINS[number % 4], age=number / 7)
            pins[action(number)] = replace(
                pin, revision=2 + number, agreements=3, conflicts=number % 2, losses=1
            )
    messages = [pin_message(key, pin) for key, pin in pins.items()]
    with stored(tmp_path / "to") as here:
        desk = Desk(here)
        assert await desk.taken(*messages) == (0, 0, len(pins))
        assert here.results.count_pins() == 0
        for key in pins:
            await here.put(b"of %s" % str(key).encode())
        request = desk.remember(KEY)
        assert await desk.taken(*messages) == (len(pins), 0, 0)
        assert desk.hits.get(request) is None
        assert await desk.taken(*messages) == (0, len(pins), 0)
        for key, message in zip(pins, messages, strict=True):
            assert pin_message(key, await desk.pins.get(key)) == message
            assert await here.results.find(key) == pins[key].kept


async def test_a_pin_that_is_here_is_kept(tmp_path: Path) -> None:
    with stored(tmp_path) as here:
        desk = Desk(here)
        mine = await desk.pin(KEY)
        theirs = pin_of(await here.kept(b"theirs"))
        assert await desk.taken(pin_message(KEY, theirs)) == (0, 1, 0)
        assert await desk.pins.get(KEY) == mine


async def test_what_is_taken_over_twice_at_once_is_taken_once(desk: Desk) -> None:
    pins = [pin_of(await desk.here.kept(b"%d" % number)) for number in range(AT_ONCE)]
    assert await desk.taken(*(pin_message(KEY, pin) for pin in pins)) == (1, AT_ONCE - 1, 0)
    assert (await desk.pins.get(KEY)).kept in [pin.kept for pin in pins]


async def test_what_is_no_pin_is_refused(desk: Desk) -> None:
    good = pin_message(KEY, pin_of(await desk.here.kept(b"1")))

    def changed(**fields: object) -> admin.Pin:
        message = admin.Pin()
        message.CopyFrom(good)
        for name, value in fields.items():
            part, _, field = name.partition("__")
            setattr(getattr(message, part) if field else message, field or part, value)
        return message

    without = changed()
    without.ClearField("result")
    for message, told in (
        (without, "has no result"),
        (changed(result__exit_code=3), "exit code 3"),
        (changed(action_digest__hash="zz"), "action_digest"),
        (changed(pinned__seconds=-5), "pinned"),
        (changed(last_seen__nanos=2_000_000_000), "last_seen"),
    ):
        with pytest.raises((Refused, InvalidDigest), match=told):
            await desk.taken(message)
    with pytest.raises(NotServed):
        await desk.taken(changed(instance_name="absent"))
    assert desk.results.count_pins() == 0


async def test_numbers_that_no_server_counts_are_brought_into_bounds(desk: Desk) -> None:
    message = pin_message(KEY, pin_of(await desk.here.kept(b"1")))
    message.revision, message.conflicts = 0, (1 << 63) - 1
    message.agreements = message.losses = -4
    message.ClearField("pinned")
    message.ClearField("last_seen")
    begun = time.time()
    assert await desk.taken(message) == (1, 0, 0)
    await desk.judge.settle(KEY, await desk.here.kept(b"2"), Mode.PIN)
    pin = await desk.pins.get(KEY)
    assert (pin.revision, pin.agreements, pin.losses) == (1, 0, 0)
    assert begun <= pin.first_seen <= time.time()
    assert pin_message(KEY, pin).conflicts > 1 << 40
