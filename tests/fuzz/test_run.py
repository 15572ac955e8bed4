from __future__ import annotations

import pytest

from fuzz import run


def test_a_target_is_fuzzed_and_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--seconds", "1", "page_token"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("page_token")
    assert told.endswith("no fault\n")
