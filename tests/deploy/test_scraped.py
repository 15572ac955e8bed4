"""A real Prometheus scrapes a real server on which results differed, and the board shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from protos import remote_execution_pb2 as reapi
from tests.deploy.board import queries
from tests.deploy.prometheus import Prometheus, prometheus, wait_for
from tests.deploy.promtool import ALERTS, PAGE
from tests.protocol.actions import command, put_action
from tests.protocol.peer import Peer, connected
from tests.serving import Served, serving

SETTINGS = "worker.slots = 2\n"
# Panels that have something to show on any server where results differed.
SHOWING = {
    "Hit rate",
    "Conflicts",
    "Execution saved",
    "Audit coverage",
    "Suspects",
    "Results, by what they were to the pin",
    "Differences in service, by cause",
    "Differences in service, by program",
    "Latent and actual",
    "The worst",
    "Observations, by source",
    "Dropped observations",
}
OURS = re.compile(r"\bholdfast_\w+")


@dataclass(frozen=True)
class Watched:
    """A server on which one action was run three times with three results, and who watches it."""

    served: Served
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with (
        serving(folder / "server", SETTINGS) as served,
        prometheus(folder / "prometheus", served.web) as watching,
        connected(served.grpc) as peer,
    ):
        wait_for(lambda: watching.scraped() >= 2, "no scrape")
        differ(peer)
        poison(peer)
        wait_for(
            lambda: watching.value('holdfast_nondeterministic_results_total{kind="actual"}') >= 3,
            "the conflicts were not attributed",
        )
        wait_for(
            lambda: watching.value('holdfast_suspect_results_total{kind="pin"}') >= 1,
            "the poisoned pin was not found",
        )
        seen = watching.scraped()
        wait_for(lambda: watching.scraped() >= seen + 2, "no further scrape")
        yield Watched(served, watching)


def differ(peer: Peer) -> None:
    """Run an action three times, whose result is another one each time; then ask for it.

    And one that writes the time into an archive, which its worker takes out.
    """
    script = "cat /proc/sys/kernel/random/uuid > out"
    action = put_action(peer, command(script, outputs=["out"]))
    for _ in range(3):
        peer.execute(action, skip_cache_lookup=True)
    assert peer.execute(action).response.cached_result
    peer.execute(put_action(peer, command("date > in; gzip in", outputs=["in.gz"])))


def poison(peer: Peer) -> None:
    """Upload a result that no run gives; then have the action run."""
    action = put_action(peer, command("echo right > out", outputs=["out"]))
    wrong = reapi.ActionResult()
    wrong.output_files.add(path="out", digest=peer.put_one(b"wrong"))
    peer.update_result(action, wrong)
    assert peer.execute(action, skip_cache_lookup=True).result.exit_code == 0


def test_every_query_of_the_board_is_answered_and_the_main_ones_with_data(
    watched: Watched,
) -> None:
    shown = set()
    for query in queries():
        if watched.prometheus.query(query.expression):
            shown.add(query.panel)
    assert shown >= SHOWING


def test_the_board_shows_the_conflicts_and_their_program(watched: Watched) -> None:
    panels = {query.panel: query.expression for query in queries()}
    assert watched.prometheus.value(panels["Conflicts"]) > 0
    programs = watched.prometheus.query(panels["Differences in service, by program"])
    assert ({"program": "cat"}, 2.0) in programs
    causes = watched.prometheus.query(panels["Differences in service, by cause"])
    assert ({"cause": "random"}, 2.0) in causes
    formats = watched.prometheus.query(panels["Canonical form, files"])
    assert [labels["format"] for labels, _ in formats] == ["gzip"]


def test_every_alert_is_evaluated_without_a_fault_and_only_the_poisoned_pin_is_one(
    watched: Watched,
) -> None:
    (group,) = watched.prometheus.ask("rules")["groups"]
    assert len(group["rules"]) == len(re.findall("- alert:", ALERTS.read_text()))
    wait_for(
        lambda: {
            rule["health"] for rule in watched.prometheus.ask("rules")["groups"][0]["rules"]
        } == {"ok"},
        "a rule cannot be evaluated",
    )  # fmt: skip
    wait_for(
        lambda: bool(watched.prometheus.ask("alerts")["alerts"]), "the poisoned pin is no alert"
    )
    firing = [each["labels"]["alertname"] for each in watched.prometheus.ask("alerts")["alerts"]]
    assert firing == ["HoldfastPinSuspect"]


def test_every_metric_that_the_board_the_alerts_and_the_page_name_is_there(
    watched: Watched,
) -> None:
    names = watched.prometheus.ask("label/__name__/values")
    texts = [*(query.expression for query in queries()), PAGE.read_text()]
    rules = watched.prometheus.ask("rules")["groups"][0]["rules"]
    texts += [rule["query"] for rule in rules]
    used = {name for text in texts for name in OURS.findall(text)}
    assert used - set(names) == set()
