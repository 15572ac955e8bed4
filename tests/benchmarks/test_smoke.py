from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import canonical, execution, load, memory, overload, safety, servers, start
from benchmarks.calls import QUICK
from benchmarks.corpus import MIB
from benchmarks.table import Table, write_json

SERVERS = 2


def is_filled(table: Table) -> bool:
    return bool(table.rows) and all(
        len(cells) == len(table.columns)
        and all(isinstance(cell, float) and cell >= 0 for cell in cells)
        for cells in table.rows.values()
    )


def test_every_call_is_answered_correctly_by_the_bare_server_and_by_ours(tmp_path: Path) -> None:
    per_cpu, per_second, delays = load.run(tmp_path, QUICK, with_peers=False)
    assert per_cpu.columns[:SERVERS] == per_second.columns == ["bare grpc.aio", "Holdfast"]
    assert len(per_cpu.rows) == len(per_second.rows) == 9
    assert len(delays.rows) == 6
    assert all(is_filled(table) for table in (per_cpu, per_second, delays))


def test_actions_run_with_the_worker_inside_and_outside_of_the_server(tmp_path: Path) -> None:
    rates, starts, cost = execution.run(tmp_path, execution.QUICK)
    assert list(rates.rows) == list(cost.rows) == ["4 in flight", "32 in flight"]
    assert list(starts.rows) == [
        "no switch of worker.prevent",
        "all switches",
        "seeded randomness",
    ]
    assert all(is_filled(table) for table in (rates, starts, cost))


def test_memory_is_measured_while_blobs_stream_both_ways(tmp_path: Path) -> None:
    (table,) = memory.run(tmp_path, stream_bytes=2 * MIB, with_peers=False)
    assert is_filled(table)


def test_a_filled_store_is_started_beside_a_new_one(tmp_path: Path) -> None:
    (table,) = start.run(tmp_path, blobs=start.FILES + 500, rounds=1)
    assert list(table.rows) == ["new store", "1,500 blobs"]
    assert is_filled(table)


def test_canonical_forms_are_measured_beside_compiling_and_reading(tmp_path: Path) -> None:
    beside, left = canonical.run(tmp_path, functions=20, size=2 * MIB, rounds=1)
    assert len(beside.rows) == 5
    assert set(left.rows) == set(canonical.DECLINING)
    assert is_filled(beside)
    assert is_filled(left)


def test_encryption_and_verification_are_measured_beside_doing_without(tmp_path: Path) -> None:
    tables = safety.run(tmp_path, rounds=1, stream_bytes=2 * MIB, calls=20)
    assert all(is_filled(table) for table in tables)


def test_an_overloaded_server_loses_nothing_that_it_took(tmp_path: Path) -> None:
    (table,) = overload.run(tmp_path, overload.QUICK)
    assert all(len(cells) == len(table.columns) for cells in table.rows.values())
    lost, unexplained = table.columns.index("lost"), table.columns.index("unexplained")
    assert all(cells[lost] == cells[unexplained] == 0 for cells in table.rows.values())


def test_figures_are_written_for_people_and_for_programs(tmp_path: Path) -> None:
    table = Table("Speed", "Of light.", ["m/s", "said"], {"vacuum": [299792458.0, None]})
    assert table.markdown().splitlines()[-1] == "| vacuum | 299,792,458 | - |"
    write_json(tmp_path / "new" / "results.json", {"machine": "any"}, [table])
    assert '"m/s"' in (tmp_path / "new" / "results.json").read_text()


def test_a_server_that_does_not_serve_is_an_error_with_its_log(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo no such option >&2; exit 2"]
    with (
        pytest.raises(RuntimeError, match="broken does not serve:\nno such option"),
        servers.launched("broken", command, servers.free_port(), tmp_path),
    ):
        raise AssertionError
