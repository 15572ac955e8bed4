"""The lab's table, for terminals, for the README and for programs."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from lab.cases import Means
from lab.rows import Row, share_right

COLUMNS = ("case", "tool", "what differs", "plain", "sandboxed", "rewritten", "Holdfast", "cause")


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table, and below it what is not as expected."""
    table = Table(*COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        style = "red" if row.faults else None
        table.add_row(*_cells(row), style=style)
    console.print(table)
    for row in rows:
        for fault in row.faults:
            console.print(f"{row.name}: {fault}", style="red", markup=False)
    console.print(summary(rows))


def markdown(rows: Sequence[Row]) -> str:
    """Return the table as the README has it."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in _cells(row))} |" for row in rows
    ]
    return "\n".join([*lines, "", summary(rows)])


def as_json(rows: Sequence[Row]) -> str:
    """Return all that is known of each case."""
    return json.dumps([dataclasses.asdict(row) for row in rows], indent=1)


def summary(rows: Sequence[Row]) -> str:
    """Say in a line what came out."""
    counts = Counter(row.means for row in rows if not row.faults)
    parts = [f"{counts[means]} {means}" for means in Means]
    failed = sum(bool(row.faults) for row in rows)
    audited = sum(row.cause_right is not None for row in rows)
    said = f"Of {len(rows)} cases: {', '.join(parts)}; {failed} not as expected."
    return said + (f" Cause right: {share_right(rows):.0%} of {audited}." if audited else "")


def _cells(row: Row) -> tuple[str, ...]:
    wrong = "" if row.cause_right is not False else " (wrong)"
    return (
        row.name,
        ", ".join(row.tools),
        row.differs,
        str(row.plain),
        str(row.prevented),
        str(row.rewritten),
        str(row.means or "-"),
        f"{row.cause}{wrong}",
    )
