"""Reading cases, and what their expectations mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from determinism.difference import Cause
from lab.audits import Audit, accepted
from lab.cases import Case, Expected, Means, Measured, load
from lab.run import CASES


def written(folder: Path, script: str, **expected: object) -> Path:
    """Make a case."""
    folder.mkdir(parents=True)
    (folder / "cmd.sh").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "expect.json").write_text(json.dumps({"outputs": ["o"], **expected}))
    return folder


def only(folder: Path) -> Case:
    (case,) = load(folder)
    return case


def test_every_case_of_the_repository_can_be_read() -> None:
    cases = load(CASES)
    assert len(cases) == 58
    assert all(case.command and case.tools and case.expected.outputs for case in cases)


@pytest.mark.parametrize(
    ("kind", "canonicalizable", "sandboxed", "means"),
    [
        ("control", False, "1/8", Means.NOTHING),
        ("guard", False, "1/8", Means.NOTHING),
        ("path", False, "1/8", Means.PREVENTED),
        ("timestamp", True, "1/8", Means.PREVENTED),
        ("timestamp", True, "8/8", Means.REWRITTEN),
        ("random", False, "8/8", Means.PINNED),
    ],
)
def test_the_earliest_line_of_defence_that_is_enough_is_expected(
    kind: str, *, canonicalizable: bool, sandboxed: str, means: Means, tmp_path: Path
) -> None:
    written(
        tmp_path / "case",
        "true",
        **{"class": kind, "canonicalizable": canonicalizable},
        measured={"distinct": {"dirs": "8/8", "herm": "8/8", "hermenv": sandboxed}},
    )
    assert only(tmp_path).expected.means == means


def test_a_case_that_nobody_measured_is_expected_to_be_pinned_alone(tmp_path: Path) -> None:
    written(tmp_path / "case", "true", **{"class": "output-set"})
    assert only(tmp_path).expected.means == Means.PINNED


def test_the_programs_of_a_script_are_found_between_what_the_shell_does_itself(
    tmp_path: Path,
) -> None:
    script = (
        "mkdir out; A=$(date +%s) B=1 rustc x.rs 2>&1 | sort > out/log\n"
        'for i in 1 2; do "$VENV/bin/python" -c "print(1); exit(0)"; done && ./out && gcc y.c'
    )
    written(tmp_path / "case", script, **{"class": "path"})
    assert only(tmp_path).tools == ["rustc", "sort", "gcc"]


def test_an_expectation_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "case", "true", **{"class": "path"}, runs="many", min_gap_s="long")
    with pytest.raises(ValueError, match=r"case/expect\.json: .*min_gap_s"):
        load(tmp_path)
    (folder / "expect.json").unlink()
    with pytest.raises(FileNotFoundError, match="there is no case"):
        load(tmp_path)


def expected(kind: str, *caused_by: str) -> Expected:
    return Expected(kind=kind, outputs=("o",), measured=Measured(caused_by=caused_by))


@pytest.mark.parametrize(
    ("kind", "said", "causes"),
    [
        ("path", "pid", {Cause.PATH, Cause.PID}),
        ("timestamp", "time(kernel mtime or clock not frozen)", {Cause.TIME, Cause.MTIME}),
        ("timestamp", "mtime of inputs (1-2 s grain)", {Cause.TIME, Cause.MTIME}),
        ("race", "random-or-race", {Cause.RANDOM, Cause.RACE}),
        ("stdout-only", "aslr", {Cause.ADDRESSES}),
        ("exit-code", "", set()),
    ],
)
def test_causes_are_accepted_by_kind_and_by_what_was_measured(
    kind: str, said: str, causes: set[Cause]
) -> None:
    assert accepted(expected(kind, said)) == causes


def test_a_cause_is_right_if_all_that_is_named_is_accepted() -> None:
    case = expected("path", "pid")
    assert Audit(True, ("path", "pid"), (), 10).right(case)
    assert not Audit(True, ("path", "time"), (), 10).right(case)
    assert not Audit(True, (), (), 10).right(case)
    assert Audit(False, (), (), 10).right(expected("control"))
    assert not Audit(True, ("time",), (), 10).right(expected("control"))
