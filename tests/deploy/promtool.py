"""Prometheus' own tool, which says whether its files are right."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.test_hygiene import ROOT

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"
BOARD = ROOT / "deploy" / "grafana" / "nondeterminism.json"
PAGE = ROOT / "docs" / "nondeterminism.md"


def promtool(*arguments: str | Path) -> str:
    """Run it; return what it says; fail if it finds fault."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def parsed(expressions: list[str], folder: Path) -> None:
    """Have Prometheus parse `expressions`; fail if it cannot."""
    rules = [
        {"record": f"holdfast:parsed:{number}", "expr": expression}
        for number, expression in enumerate(expressions)
    ]
    file = folder / "rules.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "parsed", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
