"""What Prometheus is told of results that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from determinism.difference import Cause
from determinism.ledger.store import Ledger
from determinism.observation import Source
from re_server.witness import Witness


class Rulings(NamedTuple):
    """What runs of the server's own brought to light since it started.

    odd_pins: pins that later runs agree against. odd_runs: results that the pin and another run
    agree against. audited: actions whose audit has ended.
    """

    odd_pins: int
    odd_runs: int
    audited: int


class DeterminismCollector(Collector):
    """Read when Prometheus asks. Labels are from closed sets: targets are in the ledger alone.

    What the ledger counts goes on where the server is started again; without one it is left out.
    """

    def __init__(self, witness: Witness, rulings: Callable[[], Rulings]) -> None:
        self._witness = witness
        self._rulings = rulings

    def collect(self) -> Iterable[Metric]:
        yield _by_label(
            "holdfast_canonicalised_files",
            "Outputs that workers brought into canonical form, by format.",
            "format",
            self._witness.rewritten_files,
        )
        yield _by_label(
            "holdfast_canonicalised_bytes",
            "Bytes that workers replaced in outputs to bring them into canonical form, by format.",
            "format",
            self._witness.rewritten_bytes,
        )
        rulings = self._rulings()
        yield _by_label(
            "holdfast_suspect_results",
            "Results that no other run of the action gives: a pin (corrupt or poisoned), or one "
            "run of a worker.",
            "kind",
            {"pin": rulings.odd_pins, "run": rulings.odd_runs},
        )
        yield CounterMetricFamily(
            "holdfast_audited_actions", "Actions whose audit has ended.", value=rulings.audited
        )
        if self._witness.ledger is not None:
            yield from _of_ledger(self._witness.ledger)


def _of_ledger(ledger: Ledger) -> Iterable[Metric]:
    totals = ledger.totals()
    sources: Counter[str] = Counter({str(source): 0 for source in Source})
    for (source, _), count in totals.observations.items():
        sources[source] += count
    yield _by_label(
        "holdfast_observations",
        "Results that the ledger took in, by where they come from.",
        "source",
        sources,
    )
    differing = CounterMetricFamily(
        "holdfast_nondeterministic_results",
        "Results that differ and whose cause was looked for, once for each cause. actual: in "
        "service; latent: in audits alone.",
        labels=["program", "mnemonic", "cause", "kind"],
    )
    for labels, count in totals.conflicts.items():
        kind = "latent" if labels.latent else "actual"
        differing.add_metric([labels.program, labels.mnemonic, labels.cause, kind], count)
    yield differing
    yield CounterMetricFamily(
        "holdfast_toolchain_mismatches",
        "Results that differ where the tools of the workers do, too.",
        value=sum(n for labels, n in totals.conflicts.items() if labels.cause == Cause.TOOLCHAIN),
    )
    yield CounterMetricFamily(
        "holdfast_saved_actions",
        "Later actions that were answered from the cache since a pin kept their inputs the same.",
        value=totals.saved_actions,
    )
    yield CounterMetricFamily(
        "holdfast_saved_seconds",
        "Time that running the saved actions would have taken, in seconds.",
        value=totals.saved_seconds,
    )
    yield CounterMetricFamily(
        "holdfast_ledger_dropped",
        "Entries that the ledger could not take in, or not write.",
        value=ledger.dropped,
    )
    executed, audited = ledger.coverage()
    yield GaugeMetricFamily(
        "holdfast_audit_coverage_ratio",
        "Actions that were audited, of those that were executed in the same time; 0 to 1.",
        value=min(1.0, audited / executed) if executed else 0.0,
    )


def _by_label(name: str, help: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
