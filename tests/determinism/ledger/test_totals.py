from __future__ import annotations

from pathlib import Path

from determinism.difference import Cause
from determinism.ledger.attributing import attribute
from determinism.ledger.intake import MAX_HITS, MAX_WAITING, Entry, Intake
from determinism.ledger.observing import observe
from determinism.ledger.reading import Reading
from determinism.ledger.store import Ledger
from determinism.ledger.totals import (
    MAX_COUNTERS,
    MAX_LABELS,
    OTHER,
    ClosedLabels,
    Counters,
    Kind,
)
from determinism.ledger.writer import Writer
from determinism.policy import Verdict
from tests.determinism.ledger.seen import LIMITS, Clock, book, difference, key, seen


def test_labels_are_closed_and_none_is_ever_taken_out() -> None:
    labels = ClosedLabels(["most", "second"])
    for number in range(2 * MAX_LABELS):
        labels.label(f"{number}")
    assert labels.label("most") == "most"
    assert labels.label("0") == "0"
    assert labels.label(f"{2 * MAX_LABELS - 1}") == OTHER
    assert len(labels._admitted) == MAX_LABELS


def test_programs_with_the_most_conflicts_have_labels_of_their_own() -> None:
    with book() as made:
        for number in range(MAX_LABELS + 10):
            labels = (f"program {number}", "Mnemonic", "time", "actual")
            made.counters.add(Kind.CONFLICTS, *labels, value=number + 1)
        made.counters.flush(made.connection)
        found = Counters(made.connection).totals().conflicts
    by_program = {labels.program: count for labels, count in found.items()}
    assert len(by_program) == MAX_LABELS + 1
    assert by_program[f"program {MAX_LABELS + 9}"] == MAX_LABELS + 10
    assert by_program[OTHER] == sum(range(1, 11))


def test_counters_are_bounded_whatever_clients_name() -> None:
    with book() as made:
        for number in range(MAX_COUNTERS + 20):
            made.counters.add(Kind.CONFLICTS, f"{number}", "m", "time", "latent")
        made.counters.flush(made.connection)
        (count,) = made.connection.execute("SELECT count(*) FROM counter").fetchone()
        assert count == MAX_COUNTERS + 1
        assert sum(made.counters.totals().conflicts.values()) == MAX_COUNTERS + 20


def test_a_conflict_counts_once_for_each_of_its_causes() -> None:
    with book() as made:
        observe(made, 1, seen("action", {"out": "2"}, Verdict.CONFLICT))
        told = [difference("a"), difference("b"), difference("c", cause=Cause.PID)]
        attribute(made, 1, told, latent=False)
        made.counters.flush(made.connection)
        found = made.counters.totals()
    assert {labels.cause: count for labels, count in found.conflicts.items()} == {
        "time": 1, "pid": 1,
    }  # fmt: skip
    assert found.observations == {("service", "conflict"): 1}


def test_what_waits_is_bounded_and_what_finds_no_room_is_counted() -> None:
    intake = Intake()
    for _ in range(3):
        intake.put(Entry(lambda book: None, MAX_WAITING // 2))
    assert intake.dropped == 1
    batch = intake.take(0)
    assert (len(batch.entries), batch.last) == (1, False)
    assert intake.dropped == 1


def test_hits_that_wait_are_bounded(tmp_path: Path) -> None:
    intake = Intake()
    with Reading(tmp_path / "ledger.sqlite", intake) as reading:
        kept = Ledger(Writer(tmp_path / "ledger.sqlite", LIMITS, intake, Clock()), intake, reading,
                      Clock())  # fmt: skip
        for number in range(MAX_HITS + 5):
            kept.hit(key(f"{number}"))
        assert kept.dropped == 5
    assert len(intake.take(0).hits) == MAX_HITS
    assert intake.take(0).hits == {}


def test_who_waits_is_told_when_all_that_was_there_is_taken() -> None:
    intake = Intake()
    for _ in range(2):
        intake.put(Entry(lambda book: None, MAX_WAITING // 2))
    waiter = intake.wait()
    assert intake.take(0).waiters == []
    assert intake.take(0).waiters == [waiter]
    intake.close()
    assert intake.wait().done()
    assert intake.take(0).last
