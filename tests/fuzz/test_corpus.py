"""What fuzzing has found, tried again without it: every input through its target."""

from __future__ import annotations

import pytest

from fuzz.target import CORPUS, attempts
from fuzz.targets import TARGETS

MAX_FILES = 900
MAX_BYTES = 1 << 20


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_of_the_corpus_shows_a_fault(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    with attempts(TARGETS[name]) as attempt:
        for path in inputs:
            attempt(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_more_than_refusals(name: str) -> None:
    # Seeds are real messages: where all of them are refused, nothing behind that is fuzzed.
    seeds = list(TARGETS[name].seeds())
    assert all(len(seed) <= TARGETS[name].max_bytes for seed in seeds)
    with attempts(TARGETS[name]) as attempt:
        for seed in seeds:
            attempt(seed)


def test_the_corpus_is_small_and_has_no_folder_of_another_name() -> None:
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert len(sizes) <= MAX_FILES
    assert sum(sizes) <= MAX_BYTES
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
