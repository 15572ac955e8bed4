from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings as examples, strategies as st

from determinism.sampling import MAX_CHOSEN, MAX_PROGRAMS, Sampler


def chosen(sampler: Sampler, program: str, count: int) -> int:
    return sum(sampler.offer(program, f"{program} {number}") for number in range(count))


@examples(deadline=None)
@given(one_in=st.integers(1, 200), seed=st.text(max_size=5), blocks=st.integers(1, 10))
def test_each_program_gets_its_share(one_in: int, seed: str, blocks: int) -> None:
    sampler = Sampler(1 / one_in, seed=seed)
    for program in ("gcc", "rustc"):
        assert chosen(sampler, program, one_in * blocks) == blocks


def test_a_program_that_is_rare_is_not_lost_among_others() -> None:
    sampler = Sampler(0.01)
    counts = Counter[str]()
    for number in range(100_000):
        program = "nvcc" if number % 500 == 0 else "gcc"
        counts[program] += sampler.offer(program, str(number))
    assert counts == {"nvcc": 2, "gcc": 998}


def test_the_fraction_holds_for_programs_of_one_action_each() -> None:
    sampler = Sampler(0.1)
    total = sum(sampler.offer(f"program {number}", str(number)) for number in range(20_000))
    assert 1_700 < total < 2_300


def test_the_same_seed_chooses_the_same_and_another_does_not() -> None:
    def choice(seed: str) -> list[bool]:
        sampler = Sampler(0.05, seed=seed)
        return [sampler.offer("gcc", str(number)) for number in range(500)]

    assert choice("a") == choice("a")
    assert choice("a") != choice("b")


def test_an_action_is_not_chosen_twice() -> None:
    sampler = Sampler(0.5)
    assert sum(sampler.offer("gcc", "one action") for _ in range(100)) == 1
    assert chosen(sampler, "gcc", 3) >= 1


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (1.0, 50)])
def test_nothing_and_everything_can_be_chosen(fraction: float, expected: int) -> None:
    assert chosen(Sampler(fraction), "gcc", 50) == expected


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_what_is_no_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Sampler(fraction)


def test_memory_is_bounded() -> None:
    sampler = Sampler(1.0)
    for number in range(MAX_CHOSEN + 10):
        assert sampler.offer(str(number), str(number))
    assert len(sampler._programs) == MAX_PROGRAMS
    assert len(sampler._chosen) == MAX_CHOSEN
