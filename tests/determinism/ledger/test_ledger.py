from __future__ import annotations

from pathlib import Path

import pytest

from cas.digest import Digest, DigestFunction
from determinism.difference import Cause
from determinism.ledger.learned import MAX_PAIRS
from determinism.ledger.rows import Counts, Explained, Grouping
from determinism.ledger.store import Ledger
from determinism.ledger.totals import ConflictLabels
from determinism.observation import Source
from determinism.policy import Verdict
from tests.determinism.ledger.seen import (
    DAY,
    NOW,
    SILENT,
    Clock,
    difference,
    file,
    key,
    ledger,
    rows,
    seen,
)


async def explained(kept: Ledger, name: str, instance: str = "main") -> Explained:
    found = await kept.explain(key(name, instance))
    assert found is not None
    return found


def conflicts(kept: Ledger) -> None:
    """Tell of three actions that differ: one saved most, one often, one in a stream alone."""
    for name, program in (("slow", "nvcc"), ("often", "gcc"), ("loud", "gcc")):
        kept.record(seen(name, {"out": name}, program=program))
    kept.record(seen("taker", {"out": "taken"}, seconds=100.0, mnemonic="CppLink"))
    kept.consumed(key("taker"), [file("slow")])
    number = kept.record(seen("slow", {"out": "2"}, Verdict.CONFLICT, at=NOW + 5, program="nvcc"))
    kept.attributed(number, [difference(cause=Cause.RANDOM, format="elf")], latent=False)
    for later in range(3):
        number = kept.record(seen("often", {"out": f"{later}"}, Verdict.CONFLICT, at=NOW + 1))
        kept.attributed(number, [difference(format="")], latent=False)
    said = SILENT | {"stdout": str(file("hello"))}
    kept.record(seen("loud", {"out": "loud"}, Verdict.CONFLICT, streams=said, at=NOW + 1))
    kept.flush()
    kept.hit(key("taker"))


async def test_all_that_was_told_of_an_action_is_explained(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        first = kept.record(seen("action", {"out": "1"}))
        then = kept.record(
            seen("action", {"out": "2"}, Verdict.CONFLICT, at=NOW + 1, worker="worker-2")
        )
        told = difference(
            part="member a.o", ranges=((3, 9), (20, 21)), first_text="then", then_text="now",
            evidence="it is the time of the run",
        )  # fmt: skip
        kept.attributed(then, [told], latent=False)
        kept.audited(key("action"), differs=True, runs=12, at=NOW + 2)
        found = await explained(kept, "action")
    assert [each.number for each in found.observations] == [then, first]
    latest = found.observations[0]
    assert (latest.verdict, latest.source, latest.worker) == ("conflict", "service", "worker-2")
    assert latest.switches == ("addresses", "path")
    assert latest.tool == "bazel 7.1"
    assert [(each.number, each.latent, each.attributed) for each in found.differences] == [
        (then, False, told)
    ]
    assert found.summary.causes == ("time",)
    assert (found.audits, found.audit_runs) == (1, 12)
    assert not found.summary.streams_only


async def test_nothing_is_known_of_an_action_that_was_not_observed(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        kept.record(seen("action", {}))
        kept.consumed(key("stranger"), [file("1")])
        kept.audited(key("stranger"), differs=False, runs=1, at=NOW)
        kept.attributed(12345, [difference()], latent=True)
        kept.hit(key("stranger"))
        assert await kept.explain(key("stranger")) is None
        assert await kept.explain(key("action", "another instance")) is None


async def test_groups_come_with_the_most_saved_seconds_first_and_then_the_most_conflicts(
    tmp_path: Path,
) -> None:
    clock = Clock()
    with ledger(tmp_path, clock=clock) as kept:
        clock.now += 10
        conflicts(kept)
        by = {each: await kept.groups("main", 0, each, 20) for each in Grouping}
    names = [str(key(name).action) for name in ("slow", "often", "loud")]
    assert [each.name for each in by[Grouping.ACTION]] == names
    slow, often, loud = by[Grouping.ACTION]
    assert (slow.saved_actions, slow.saved_seconds) == (1, 100.0)
    assert (often.conflicts, often.latent, often.actions) == (3, 0, 1)
    assert [each.streams_only for each in (slow, often, loud)] == [False, False, True]
    assert [each.name for each in by[Grouping.PROGRAM]] == ["nvcc", "gcc"]
    assert [each.name for each in by[Grouping.CAUSE]] == ["random", "time", "unknown"]
    assert by[Grouping.CAUSE][1].causes == ("time",)
    (mnemonic,) = by[Grouping.MNEMONIC]
    assert (mnemonic.name, mnemonic.actions, mnemonic.conflicts) == ("CppCompile", 3, 5)
    assert mnemonic.key == key("slow")
    assert mnemonic.causes == ("random", "time")
    assert by[Grouping.TARGET][0].name == "//some:slow"


async def test_groups_are_of_an_instance_and_a_time_and_as_many_as_are_asked_for(
    tmp_path: Path,
) -> None:
    with ledger(tmp_path) as kept:
        conflicts(kept)
        other = seen("x", {"out": "x"}, Verdict.CONFLICT, key=key("x", "other"), at=NOW + 9)
        kept.record(other)
        assert len(await kept.groups(None, 0, Grouping.ACTION, 20)) == 4
        assert len(await kept.groups("main", 0, Grouping.ACTION, 20)) == 3
        assert len(await kept.groups("main", 0, Grouping.ACTION, 2)) == 2
        (late,) = await kept.groups("main", NOW + 2, Grouping.ACTION, 20)
        assert late.key == key("slow")
        assert await kept.groups("nowhere", 0, Grouping.CAUSE, 20) == []
        assert await kept.counts("other", 0) == Counts(1, 1, 1, 0, 0)
        assert await kept.counts(None, NOW + 1) == Counts(6, 4, 6, 0, 0)


async def test_what_audits_find_is_latent(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        kept.record(seen("action", {"out": "1"}))
        number = kept.record(seen("action", {"out": "2"}, None, source=Source.AUDIT, seconds=99.0))
        kept.attributed(number, [difference(format="zip")], latent=True)
        kept.audited(key("action"), differs=True, runs=40, at=NOW)
        (group,) = await kept.groups(None, 0, Grouping.ACTION, 20)
        assert (group.conflicts, group.latent) == (0, 1)
        assert (await kept.counts(None, 0)).audited == 1
        assert kept.totals().conflicts == {ConflictLabels("gcc", "CppCompile", "time", True): 1}
        assert rows(tmp_path, "SELECT seconds FROM action") == [(2.0,)]
        assert kept.coverage() == (1, 1)


async def test_actions_are_found_by_invocation_and_by_target(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        for name in ("one", "two"):
            kept.record(seen(name, {}, invocation=name))
            kept.record(seen("both", {}, invocation=name))
        kept.record(seen("one", {}, key=key("one", "other")))
        assert set(await kept.actions_of(invocation="one")) == {key("one"), key("both")}
        assert await kept.actions_of(invocation="three") == []
        found = await kept.actions_of(target="//some:*o*")
        assert set(found) == {key("one"), key("both"), key("two"), key("one", "other")}
        assert await kept.actions_of(target="//some:one", instance="main") == [key("one")]


async def test_only_files_that_known_actions_made_are_generated(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        kept.record(seen("action", {"out": "1", "tree": f"tree {file('t')}", "to": "symlink to x"}))
        asked = [file("1"), file("t"), file("source")]
        assert await kept.generated(asked) == {file("1")}


async def test_a_ledger_that_is_opened_again_knows_all_that_it_knew(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        conflicts(kept)
        kept.flush()
        before, totals = await explained(kept, "slow"), kept.totals()
    with ledger(tmp_path) as kept:
        assert await explained(kept, "slow") == before
        assert kept.totals() == totals
        assert (kept.recorded, kept.dropped) == (0, 0)


def test_nothing_that_was_told_is_lost_at_a_clean_end(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        numbers = [kept.record(seen(f"{number}", {"out": "1"})) for number in range(3000)]
    assert (kept.recorded, kept.dropped) == (3000, 0)
    found = rows(tmp_path, "SELECT id FROM observation ORDER BY id")
    assert [number for (number,) in found] == numbers
    kept.record(seen("too late", {}))
    kept.flush()
    assert kept.dropped == 1


def test_formats_that_help_with_a_program_are_learned_once_and_for_good(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        assert kept.formats_for("gcc") == frozenset()
        kept.learn("gcc", ["elf", "ar"])
        kept.learn("", ["elf"])
        kept.flush()
        kept.learn("gcc", ["ar"])
        kept.learn("gcc", ["pe"])
        kept.flush()
        assert kept.formats_for("gcc") == {"ar", "elf", "pe"}
        assert kept.formats_for("ld") == frozenset()
    assert kept.recorded == 3
    with ledger(tmp_path) as kept:
        assert kept.learned() == {("gcc", "ar"), ("gcc", "elf"), ("gcc", "pe")}


def test_what_is_learned_is_bounded(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        for number in range(0, MAX_PAIRS + 50, 50):
            kept.learn("gcc" if number else "ld", [f"format {number + each}" for each in range(50)])
        kept.flush()
        assert len(kept.learned()) == MAX_PAIRS


async def test_an_outcome_is_kept_once_however_often_it_is_seen(tmp_path: Path) -> None:
    outputs = {"a": "1", "b": f"{file('2')} executable", "c": "symlink to a"}
    with ledger(tmp_path) as kept:
        for number in range(50):
            verdict = Verdict.AGREED if number else Verdict.FIRST
            kept.record(seen("action", outputs, verdict, invocation=f"{number}"))
    assert rows(tmp_path, "SELECT count(*) FROM observation") == [(50,)]
    assert rows(tmp_path, "SELECT count(*) FROM outcome") == [(1,)]
    assert rows(tmp_path, "SELECT path, kind, other FROM output ORDER BY path") == [
        ("a", "file", ""), ("b", "executable", ""), ("c", "other", "symlink to a"),
    ]  # fmt: skip


async def test_what_a_client_says_once_of_an_action_stays_known(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        kept.record(seen("action", {}))
        kept.record(
            seen(
                "action", {}, Verdict.AGREED, target="", mnemonic="", program="", seconds=0.0,
                source=Source.UPLOAD, input_root=None,
            )
        )  # fmt: skip
        summary = (await explained(kept, "action")).summary
    assert (summary.target, summary.mnemonic, summary.program) == (
        "//some:action", "CppCompile", "gcc",
    )  # fmt: skip
    assert rows(tmp_path, "SELECT seconds, length(input_root) FROM action") == [(2.0, 41)]


def test_what_was_rewritten_is_kept_and_counted(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        kept.record(
            seen(
                "action",
                {"lib.a": "after"},
                before={"lib.a": str(file("before"))},
                formats={"lib.a": ("ar", "elf")},
                replaced={"lib.a": 17},
            )
        )
    assert kept.totals().rewritten == {"ar": (1, 17), "elf": (1, 17)}
    ((path, before, formats, changed),) = rows(
        tmp_path,
        "SELECT path, before, value, bytes FROM rewritten JOIN text ON text.id = formats",
    )
    assert (path, formats, changed) == ("lib.a", '["ar", "elf"]', 17)
    assert before[1:-8].hex() == file("before").hash


async def test_an_attribution_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    with ledger(tmp_path) as kept:
        number = kept.record(seen("action", {"out": "2"}, Verdict.CONFLICT))
        kept.attributed(number, [difference(), difference("other")], latent=False)
        kept.attributed(number, [difference(cause=Cause.RACE)], latent=False)
        kept.attributed(number, [], latent=False)
        found = await explained(kept, "action")
        assert [each.attributed.cause for each in found.differences] == [Cause.RACE]
        assert list(kept.totals().conflicts.values()) == [1]


@pytest.mark.parametrize("function", DigestFunction)
async def test_digests_of_every_function_come_back_as_they_were(
    tmp_path: Path, function: DigestFunction
) -> None:
    action = Digest.of(b"action", function)
    with ledger(tmp_path) as kept:
        outputs = {"out": str(Digest.of(b"1", function))}
        made = seen("x", outputs, key=key("x")._replace(action=action))
        kept.record(made)
        assert await kept.actions_of(target="//some:x") == [made.key]
        assert await kept.generated([Digest.of(b"1", function)]) == {Digest.of(b"1", function)}


async def test_an_action_that_was_not_used_for_days_and_is_hit_is_in_use(tmp_path: Path) -> None:
    clock = Clock()
    with ledger(tmp_path, clock=clock) as kept:
        kept.record(seen("action", {}))
        kept.flush()
        clock.now += 2 * DAY
        kept.hit(key("action"))
        kept.flush()
        assert rows(tmp_path, "SELECT used FROM action") == [(int(clock.now),)]
