"""What the ledger knows, as it goes over the wire."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cas.wire import digest_to
from determinism.ledger.store import Ledger
from protos import admin_pb2 as admin
from re_client.status import NotServed, Refused, Unserved
from re_server.nondeterminism import Nondeterminism
from tests.action_cache.stored import Stored, pin_of, stored
from tests.re_server.ledgers import CONSUMER_SECONDS, NOW, key, told

Request = admin.ListNondeterminismRequest


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with told(tmp_path) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Stored]:
    with stored(tmp_path / "store") as made:
        yield made


@pytest.fixture
def known(ledger: Ledger, store: Stored) -> Nondeterminism:
    return Nondeterminism(ledger, store.results)


async def test_the_action_whose_pin_saved_most_comes_first(known: Nondeterminism) -> None:
    listed = await known.list(Request(instance_name="main"))
    worst, other = listed.groups
    assert worst.action_digest == digest_to(key("flaky").action)
    assert (worst.conflicts, worst.latent, worst.actions) == (1, 0, 1)
    assert (worst.saved_actions, worst.saved_seconds) == (1, CONSUMER_SECONDS)
    assert (worst.program, worst.target, worst.mnemonic) == ("gcc", "//lib:gcc", "CppCompile")
    assert list(worst.causes) == ["time"]
    assert not worst.streams_only
    assert (other.conflicts, other.latent) == (0, 1)
    assert other.streams_only
    assert (listed.observations, listed.actions) == (5, 3)
    assert (listed.conflicts, listed.latent, listed.audited_actions) == (1, 1, 1)


@pytest.mark.parametrize(
    ("grouping", "names"),
    [
        (Request.PROGRAM, ["gcc", "["]),
        (Request.TARGET, ["//lib:gcc", "//lib:["]),
        (Request.CAUSE, ["time", "random"]),
        (Request.MNEMONIC, ["CppCompile"]),
    ],
)
async def test_actions_are_put_together(
    known: Nondeterminism, grouping: Request.Grouping.ValueType, names: list[str]
) -> None:
    listed = await known.list(Request(instance_name="main", grouping=grouping))
    assert [group.name for group in listed.groups] == names


async def test_limit_time_and_instance_bound_what_is_listed(known: Nondeterminism) -> None:
    assert len((await known.list(Request(instance_name="main", limit=1))).groups) == 1
    assert not (await known.list(Request(instance_name="other"))).groups
    late = Request(instance_name="main")
    late.since.FromSeconds(int(NOW) + 1)
    assert not (await known.list(late)).groups


async def test_what_makes_no_sense_is_refused(known: Nondeterminism) -> None:
    early = Request()
    early.since.seconds = -1
    for request in (Request(limit=-1), Request(limit=1_000_000), early):
        with pytest.raises(Refused):
            await known.list(request)
    with pytest.raises(Refused, match="grouping 99"):
        await known.list(Request.FromString(b"\x18\x63"))


async def test_one_action_is_explained_with_all_that_belongs_to_it(
    known: Nondeterminism, store: Stored
) -> None:
    flaky = key("flaky")
    kept = await store.kept(b"first", worker="builder-1")
    await store.set(flaky, kept, pin_of(kept))
    found = await known.explain(flaky)
    assert found.summary.conflicts == 1
    assert found.pin.worker == "builder-1"
    assert not found.pin.HasField("result")
    (difference,) = found.differences
    assert (difference.where, difference.format, difference.part) == ("out.o", "elf", ".rodata")
    assert [(each.start, each.end) for each in difference.ranges] == [(64, 72), (100, 101)]
    assert (difference.first_text, difference.then_text) == ("12:00:01", "12:00:03")
    assert (difference.cause, difference.latent) == ("time", False)
    assert difference.evidence == "both are times of the runs"
    latest, first = found.observations
    assert (latest.source, latest.verdict, first.verdict) == ("service", "conflict", "first")
    assert latest.at.ToNanoseconds() == NOW * 1e9
    assert latest.duration.ToNanoseconds() == 1_500_000_000
    assert (latest.worker, latest.toolchain, latest.rules) == ("builder-1", "tools", "1")
    assert list(latest.switches) == ["pid", "uts"]
    (consumer,) = found.consumers
    assert consumer.action_digest == digest_to(key("consumer").action)
    assert (consumer.distance, consumer.saved) == (1, 1)
    assert consumer.duration.ToNanoseconds() == CONSUMER_SECONDS * 1e9


async def test_what_an_audit_found_is_marked_latent(known: Nondeterminism) -> None:
    found = await known.explain(key("audited"))
    assert [each.latent for each in found.differences] == [True]
    assert not found.HasField("pin")


async def test_an_action_that_nothing_is_known_of_is_not_found(known: Nondeterminism) -> None:
    with pytest.raises(NotServed, match="knows nothing"):
        await known.explain(key("never seen"))
    with pytest.raises(NotServed, match="knows nothing"):
        await known.explain(key("flaky", instance="other"))


async def test_without_a_ledger_the_setting_is_named(store: Stored) -> None:
    unknown = Nondeterminism(None, store.results)
    for asked in (unknown.list(Request()), unknown.explain(key("flaky"))):
        with pytest.raises(NotServed, match=r"ledger\.enabled"):
            await asked


async def test_a_ledger_that_cannot_be_read_is_said_to_be_that(
    known: Nondeterminism, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as other:
        other.execute("ALTER TABLE action RENAME TO elsewhere")
    other.close()
    with pytest.raises(Unserved, match="cannot be read"):
        await known.list(Request())
