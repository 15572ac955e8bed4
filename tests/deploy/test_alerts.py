"""The alerts and the configuration around them, as promtool sees them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.deploy.promtool import ALERTS, PAGE, PROMETHEUS, promtool

HISTORIES = Path(__file__).with_name("alerts_test.yml")
NAMES = re.findall(r"- alert: (\w+)", ALERTS.read_text())


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    assert f"{len(NAMES)} rules found" in promtool("check", "rules", "--lint=all", ALERTS)
    assert "1 rule files found" in promtool("check", "config", PROMETHEUS)


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", HISTORIES)


def test_no_alert_is_without_a_history_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    histories = HISTORIES.read_text()
    silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", histories))
    firing = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels", histories))
    assert silent == firing == set(NAMES)


def test_every_alert_stands_in_the_documentation() -> None:
    page = PAGE.read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []
