"""The lab itself: a part of it, with real tools, and cases that are not as they claim to be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.run import CASES
from tests.lab.test_cases import written

REPRESENTATIVE = (
    "cc_as_debug_tempname",
    "cc_gcc_pch",
    "cc_link_map",
    "guard_appended_zip",
    "guard_concat_gzip",
    "nv_cubin",
    "py_zipfile_now",
    "rs_bin_release_control",
    "rs_rlib_path",
    "sh_listdir",
    "sh_race_makej",
    "sh_uuid",
    "sqlite_control",
    "wheel_bdist",
)
"""Of each kind of difference, and of each kind of tool, one."""


def lab(*arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
    """Run the lab; return its exit status, and the lines of its table."""
    done = subprocess.run(
        [sys.executable, "-m", "lab.run", "--json", "--no-audit", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def test_what_can_be_settled_is_and_all_else_has_one_answer() -> None:
    chosen = [f"--only={name}" for name in REPRESENTATIVE]
    status, rows = lab("--runs=2", "--cases", CASES, *chosen)
    assert [row["name"] for row in rows] == list(REPRESENTATIVE)
    assert {row["name"]: row["faults"] for row in rows if row["faults"]} == {}
    assert status == 0


def test_cases_that_are_not_what_they_claim_to_be_are_faults(tmp_path: Path) -> None:
    settled = {"distinct": {"dirs": "8/8", "herm": "1/8"}}
    written(tmp_path / "broken", "exit 3", **{"class": "path"})
    written(tmp_path / "calm", "pwd > o", **{"class": "control"})
    written(tmp_path / "random", "uuidgen > o", **{"class": "random"}, measured=settled)
    status, rows = lab("--runs=2", "--cases", tmp_path)
    assert status == 1
    faults = {row["name"]: row["faults"] for row in rows}
    assert faults["broken"] == ["exit code 3: "]
    assert faults["calm"] == ["not as of a plain run: o"]
    assert faults["random"] == ["2 different results: o"]
