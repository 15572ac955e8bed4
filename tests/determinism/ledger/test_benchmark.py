from __future__ import annotations

from pathlib import Path

from benchmarks import ledger


def test_the_ledger_is_measured_beside_sqlite_alone(tmp_path: Path) -> None:
    (table,) = ledger.run(tmp_path, observations=500, rounds=1)
    (cells,) = table.rows.values()
    assert len(cells) == len(table.columns)
    assert all(isinstance(cell, float) and cell > 0 for cell in cells)
