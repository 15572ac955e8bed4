"""What /metrics says of results that differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from determinism.ledger.store import Ledger, opened
from determinism.ledger.totals import MAX_LABELS
from re_server.determinism_metrics import DeterminismCollector, Rulings
from re_server.witness import Witness
from tests.re_server.ledgers import CONSUMER_SECONDS, LIMITS, conflict, key, told

NONE = Rulings(odd_pins=0, odd_runs=0, audited=0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with told(tmp_path) as made:
        yield made


def samples(
    ledger: Ledger | None, rulings: Rulings = NONE, *, rewritten: int = 0
) -> dict[str, float]:
    """Return what is told, by name and the values of the labels."""
    witness = Witness(ledger)
    if rewritten:
        witness.rewritten_files["zip"] += 1
        witness.rewritten_bytes["zip"] += rewritten
    registry = CollectorRegistry()
    registry.register(DeterminismCollector(witness, lambda: rulings))
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_observations_are_told_by_source_from_the_start(ledger: Ledger) -> None:
    found = samples(ledger)
    assert found["holdfast_observations_total service"] == 4
    assert found["holdfast_observations_total audit"] == 1
    assert found["holdfast_observations_total upload"] == 0
    assert found["holdfast_observations_total arbiter"] == 0


def test_differences_are_told_by_program_mnemonic_cause_and_kind(ledger: Ledger) -> None:
    found = samples(ledger)
    name = "holdfast_nondeterministic_results_total"
    assert {each: value for each, value in found.items() if each.startswith(name)} == {
        f"{name} gcc CppCompile time actual": 1,
        f"{name} [ CppCompile random latent": 1,
    }
    assert found["holdfast_toolchain_mismatches_total"] == 0


def test_what_pinning_saved_is_told(ledger: Ledger) -> None:
    found = samples(ledger)
    assert found["holdfast_saved_actions_total"] == 1
    assert found["holdfast_saved_seconds_total"] == CONSUMER_SECONDS
    assert found["holdfast_ledger_dropped_total"] == 0


def test_the_part_that_was_audited_is_told(ledger: Ledger) -> None:
    assert samples(ledger)["holdfast_audit_coverage_ratio"] == pytest.approx(1 / 3)


def test_what_was_ruled_and_rewritten_is_told_even_without_a_ledger() -> None:
    assert samples(None, Rulings(odd_pins=1, odd_runs=2, audited=3), rewritten=400) == {
        "holdfast_suspect_results_total pin": 1,
        "holdfast_suspect_results_total run": 2,
        "holdfast_audited_actions_total": 3,
        "holdfast_canonicalised_files_total zip": 1,
        "holdfast_canonicalised_bytes_total zip": 400,
    }


def test_programs_beyond_a_bound_are_counted_together(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger.sqlite", LIMITS) as ledger:
        for number in range(2 * MAX_LABELS):
            conflict(ledger, key(f"action {number}"), program=f"program{number}")
        ledger.flush()
        found = samples(ledger)
    differing = {name: value for name, value in found.items() if "nondeterministic_results" in name}
    assert len(differing) == MAX_LABELS + 1
    assert sum(differing.values()) == 2 * MAX_LABELS
    assert differing["holdfast_nondeterministic_results_total other CppCompile time actual"] == (
        MAX_LABELS
    )


def test_counts_of_the_ledger_go_on_after_a_new_start(tmp_path: Path) -> None:
    with told(tmp_path) as ledger:
        before = samples(ledger)
    with opened(tmp_path / "ledger.sqlite", LIMITS) as ledger:
        assert samples(ledger) | {"holdfast_audit_coverage_ratio": 0} == before | {
            "holdfast_audit_coverage_ratio": 0
        }
