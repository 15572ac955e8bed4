from __future__ import annotations

from pathlib import Path

import pytest

from determinism.ledger.observing import consume, hit, observe
from determinism.ledger.retention import (
    CONFLICTS_LAST,
    STEP_ROWS,
    LedgerLimits,
    Oldest,
    Retention,
    turn,
)
from determinism.ledger.schema import TABLES
from determinism.policy import Verdict
from tests.determinism.ledger.seen import (
    DAY,
    NOW,
    Clock,
    book,
    difference,
    file,
    key,
    ledger,
    rows,
    seen,
)

MIB = 1 << 20
WEEK = LedgerLimits(max_seconds=7 * DAY, max_bytes=1 << 30)

REFERENCES = [
    ("observation", "action", "action"),
    ("observation", "outcome", "outcome"),
    ("outcome", "action", "action"),
    ("output", "outcome", "outcome"),
    ("made", "outcome", "outcome"),
    ("consumed", "action", "action"),
    ("rewritten", "observation", "observation"),
    ("difference", "observation", "observation"),
    ("diverged", "observation", "observation"),
    ("credit", "consumer", "action"),
    ("credit", "origin", "action"),
    ("audit", "action", "action"),
    ("action", "pin", "outcome"),
    *(("action", column, "text") for column in ("instance", "program", "target", "mnemonic")),
    *(
        ("observation", column, "text")
        for column in (
            "source", "verdict", "mode", "worker", "toolchain", "switches", "rules", "program",
            "version", "mnemonic", "target", "invocation", "tool", "root",
        )
    ),
    ("difference", "format", "text"),
    ("difference", "cause", "text"),
    ("rewritten", "formats", "text"),
]  # fmt: skip


def check_references(folder: Path) -> None:
    """Fail where a row refers to one that is not there."""
    for table, column, other in REFERENCES:
        dangling = rows(
            folder,
            f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL "
            f"AND {column} NOT IN (SELECT id FROM {other})",
        )
        assert dangling == [(0,)], (table, column)
    assert rows(folder, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize(
    ("agreeing", "differing", "crowded", "expected"),
    [
        (None, None, True, None),
        (6, 27, False, None),
        (8, None, False, "agreeing"),
        (8, 20, False, "agreeing"),
        (6, 29, False, "differing"),
        (8, 33, False, "differing"),
        (1, 3, True, "agreeing"),
        (1, 5, True, "differing"),
        (None, 1, True, "differing"),
    ],
)
def test_the_oldest_goes_first_and_conflicts_count_as_younger(
    agreeing: float | None, differing: float | None, expected: str | None, *, crowded: bool
) -> None:
    assert CONFLICTS_LAST == 4
    oldest = Oldest(*(None if days is None else NOW - days * DAY for days in (agreeing, differing)))
    found = turn(oldest, WEEK, NOW, crowded=crowded)
    assert (found.kind if found else None) == expected


def test_what_is_too_old_goes_and_conflicts_later(tmp_path: Path) -> None:
    clock = Clock()
    with ledger(tmp_path, WEEK, clock) as kept:
        kept.record(seen("agrees", {"out": "1"}))
        kept.record(seen("differs", {"out": "1"}))
        number = kept.record(seen("differs", {"out": "2"}, Verdict.CONFLICT))
        kept.attributed(number, [difference()], latent=False)
        kept.learn("gcc", ["ar"])
        left = []
        for days in (6, 8, 27, 29):
            clock.now = NOW + days * DAY
            kept.flush()
            kept.flush()  # once for observations, and once for the action that has none any more
            left.append(
                tuple(
                    rows(tmp_path, f"SELECT count(*) FROM {table}")[0][0]
                    for table in ("observation", "action", "difference")
                )
            )
        assert left == [(3, 2, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0)]
        assert kept.formats_for("gcc") == {"ar"}
        kept.flush()
    assert rows(tmp_path, "SELECT count(*) FROM outcome") == [(0,)]
    assert rows(tmp_path, "SELECT count(*) FROM made") == [(0,)]
    assert rows(tmp_path, "SELECT value FROM text") == [("",)]
    check_references(tmp_path)


def test_an_action_that_is_hit_stays_known_with_what_it_consumed(tmp_path: Path) -> None:
    clock = Clock()
    with ledger(tmp_path, WEEK, clock) as kept:
        kept.record(seen("maker", {"out": "1"}))
        kept.record(seen("taker", {"out": "2"}))
        kept.consumed(key("taker"), [file("1")])
        kept.flush()
        clock.now += 5 * DAY
        for name in ("maker", "taker"):
            kept.hit(key(name))
        kept.flush()
        clock.now += 5 * DAY
        for _ in range(3):
            kept.flush()
        assert rows(tmp_path, "SELECT count(*) FROM observation") == [(0,)]
        check_references(tmp_path)
        conflict = seen("maker", {"out": "3"}, Verdict.CONFLICT, at=clock.now)
        kept.record(conflict)
        kept.flush()
        clock.now += 1
        kept.hit(key("taker"))
        kept.flush()
        assert rows(tmp_path, "SELECT max(saved_seconds) FROM observation") == [(2.0,)]
    check_references(tmp_path)


def test_the_file_stays_below_its_largest_size_and_keeps_conflicts_longest(tmp_path: Path) -> None:
    clock = Clock()
    limits = LedgerLimits(max_seconds=900 * DAY, max_bytes=2 * MIB)
    sizes = []
    with ledger(tmp_path, limits, clock) as kept:
        for number in range(8000):
            clock.now += 60
            verdict = Verdict.CONFLICT if number % 100 == 0 else Verdict.FIRST
            outputs = {"out": f"{number}", "other": f"other {number}"}
            id = kept.record(seen(f"{number}", outputs, verdict, at=clock.now))
            kept.consumed(key(f"{number}"), [file(f"{number - 1}"), file(f"{number - 9}")])
            if verdict is Verdict.CONFLICT:
                kept.attributed(id, [difference()], latent=False)
            kept.hit(key(f"{number - 5}"))
            if number % 500 == 0:
                kept.flush()
                sizes.append((tmp_path / "ledger.sqlite").stat().st_size)
        kept.flush()
        assert (kept.recorded, kept.dropped) == (16_080, 0)
    assert MIB < sizes[-1] <= max(sizes) <= limits.max_bytes
    ((agreeing, oldest),) = rows(
        tmp_path, "SELECT count(*), min(at) FROM observation WHERE differs = 0"
    )
    ((differing, older),) = rows(
        tmp_path, "SELECT count(*), min(at) FROM observation WHERE differs > 0"
    )
    assert agreeing > 500
    assert 10 < differing < 200
    assert 3 <= (clock.now - older) / (clock.now - oldest) <= 5
    check_references(tmp_path)
    ((texts,),) = rows(tmp_path, "SELECT count(*) FROM text")
    assert texts < 8000


def test_a_smaller_limit_shrinks_the_file(tmp_path: Path) -> None:
    clock = Clock()
    with ledger(tmp_path, clock=clock) as kept:
        for number in range(4000):
            clock.now += 1
            kept.record(seen(f"{number}", {"out": f"{number}"}, at=clock.now))
    before = (tmp_path / "ledger.sqlite").stat().st_size
    small = LedgerLimits(90 * DAY, before // 4)
    with ledger(tmp_path, small, clock) as kept:
        for _ in range(10):
            kept.flush()
    assert (tmp_path / "ledger.sqlite").stat().st_size <= small.max_bytes
    check_references(tmp_path)


def test_steps_are_small(tmp_path: Path) -> None:
    with book() as made:
        for number in range(STEP_ROWS + 20):
            observe(made, number, seen(f"{number}", {"out": f"{number}"}))
            consume(made, key(f"{number}"), [file("1")], NOW)
            hit(made, key(f"{number}"), NOW)
        retention = Retention(made.connection, WEEK)
        left: list[int] = []
        for _ in range(4):
            assert retention.step(NOW + 8 * DAY) or not left[-1]
            left += made.connection.execute("SELECT count(*) FROM observation").fetchone()
        assert left == [20, 0, 0, 0]
        while retention.step(NOW + 8 * DAY):
            pass
        for table in ("action", "outcome", "output", "made", "consumed"):
            found = made.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert found == (0,), table


def test_no_table_is_forgotten_in_these_tests() -> None:
    named = {line.split()[2] for line in TABLES.splitlines() if line.startswith("CREATE TABLE")}
    aside = {"text", "learned", "counter"}  # refer to nothing
    assert {table for table, _, _ in REFERENCES} == named - aside
