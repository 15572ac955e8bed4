"""Figures in rows and columns, for people (Markdown) and programs (JSON)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Table:
    """One topic's figures. rows: by their name, a cell for each of columns; None: not measured.

    note: what the figures are of, and how they were taken; a sentence or two.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: dict[str, Sequence[float | str | None]] = field(default_factory=dict)

    def markdown(self) -> str:
        head = ["", *self.columns]
        lines = [head, ["---", *["---:"] * len(self.columns)]]
        lines += [[name, *map(_cell, cells)] for name, cells in self.rows.items()]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"### {self.title}\n\n{self.note}\n\n{table}\n"


def _cell(value: float | str | None) -> str:
    """Write a figure with three digits that mean something."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def write_json(file: Path, about: dict[str, str], tables: Sequence[Table]) -> None:
    """Write all figures, unrounded, with what they were measured on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    contents = {"about": about, "tables": [asdict(table) for table in tables]}
    file.write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n")
