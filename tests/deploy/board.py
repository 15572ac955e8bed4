"""The Grafana board, read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.deploy.promtool import BOARD

INTERVAL = "10m"  # in place of Grafana's own variables for times


@dataclass(frozen=True)
class Query:
    """One query of one panel, with Grafana's variables filled in as for everything there is."""

    panel: str
    expression: str


def board() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(BOARD.read_text())
    return read


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something: rows only hold them together."""
    return [panel for panel in board()["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    for panel in panels():
        for target in panel["targets"]:
            yield Query(panel["title"], _filled(target["expr"]))


def _filled(expression: str) -> str:
    for name in ("$__rate_interval", "$__range", "$__interval"):
        expression = expression.replace(name, INTERVAL)
    filled = expression.replace("$job", ".*").replace("$instance", ".*")
    assert "$" not in filled, filled
    return filled
