"""What Prometheus is told of results that were only proposed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from action_cache.disk_proposals import DiskProposals
from determinism.judge import Judge
from determinism.proposals import Ruling, Standing
from re_server.overlay import Overlay


class Reviewed(NamedTuple):
    """ruled: how often each was said of a proposal. verified: actions that were run for them."""

    ruled: Mapping[Ruling, int]
    verified: int


class ProposalCollector(Collector):
    """Read when Prometheus asks. Writers are in the log and the ledger alone."""

    def __init__(
        self,
        proposals: DiskProposals,
        judge: Judge,
        overlay: Overlay,
        reviewed: Callable[[], Reviewed],
    ) -> None:
        self._proposals = proposals
        self._judge = judge
        self._overlay = overlay
        self._reviewed = reviewed

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "holdfast_proposals",
            "Results that their writers alone are answered with.",
            value=self._proposals.count(),
        )
        proposed = CounterMetricFamily(
            "holdfast_proposed_results",
            "Results of callers who may only propose them, by what became of them at once. "
            "conflicting: they wait beside others that differ; needless: everyone has one already.",
            labels=["standing"],
        )
        for standing in Standing:
            proposed.add_metric([standing], self._judge.proposed[standing])
        yield proposed
        reviewed = self._reviewed()
        ruled = CounterMetricFamily(
            "holdfast_ruled_proposals",
            "Proposals, by what they were to the result that became everyone's.",
            labels=["ruling"],
        )
        for ruling in Ruling:
            ruled.add_metric([ruling], reviewed.ruled.get(ruling, 0))
        yield ruled
        yield CounterMetricFamily(
            "holdfast_expired_proposals",
            "Proposals that gave way to others, or went with a blob of theirs.",
            value=self._proposals.expired,
        )
        yield CounterMetricFamily(
            "holdfast_verified_proposals",
            "Actions that were run to settle what was proposed for them.",
            value=reviewed.verified,
        )
        yield CounterMetricFamily(
            "holdfast_proposal_hits",
            "Misses of the action cache that were answered with the caller's own proposal.",
            value=self._overlay.own_hits,
        )
