"""The Grafana board: whole, readable, and of queries that Prometheus takes."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

from tests.deploy.board import board, panels, queries
from tests.deploy.promtool import parsed

COLUMNS = 24  # of a board
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    expressions = [query.expression for query in queries()]
    assert len(expressions) >= len(panels())
    parsed(expressions, tmp_path)


def test_every_panel_says_what_it_shows_in_which_unit_and_from_where() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == SOURCE
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"] == SOURCE
            assert target["legendFormat"]


def test_panels_have_ids_of_their_own_and_do_not_cover_one_another() -> None:
    everything = board()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for panel in everything:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS
    for one, other in combinations(everything, 2):
        assert apart(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(
        one["x"] + one["w"] <= other["x"]
        or other["x"] + other["w"] <= one["x"]
        or one["y"] + one["h"] <= other["y"]
        or other["y"] + other["h"] <= one["y"]
    )


def test_the_board_can_be_imported_anywhere() -> None:
    whole = board()
    assert whole["id"] is None
    assert whole["schemaVersion"] >= 39
    variables = {each["name"]: each for each in whole["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["job"]["datasource"] == variables["instance"]["datasource"] == SOURCE


def test_panels_of_one_unit_do_not_mix_counts_and_rates() -> None:
    """A rate is per second, a growth is not: the units say which is which."""
    for panel in panels():
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            if unit in {"ops", "Bps"}:
                assert "rate(" in target["expr"], panel["title"]
            if unit in {"short", "s"}:
                assert "rate(" not in target["expr"], panel["title"]
