"""Chooses which actions are audited: a fraction, of each program its share. Pure."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

from xxhash import xxh3_64_intdigest

MAX_PROGRAMS = 4096
MAX_CHOSEN = 65536
MAX_DENOMINATOR = 10**6  # of the fraction: with floats, blocks of offers would not meet


class Sampler:
    """Chooses one of every 1/`fraction` offers of each program, at a place that `seed` settles.

    So a program of which few actions are seen has as large a share as one of which many are, and
    among any 2/`fraction` of its offers is one that is chosen, if they are of different keys.
    Memory: MAX_PROGRAMS programs, those offered last, and MAX_CHOSEN keys that were chosen: these
    are not chosen again, and another of their program is instead.
    """

    def __init__(self, fraction: float, *, seed: str = "") -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"a fraction is from 0 to 1, not {fraction}")
        ratio = Fraction(fraction).limit_denominator(MAX_DENOMINATOR)
        self._chosen_of, self._offers = ratio.as_integer_ratio()
        self._seed = seed
        self._programs: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self._chosen: OrderedDict[str, None] = OrderedDict()

    def offer(self, program: str, key: str) -> bool:
        """Tell whether the action `key`, which ran `program`, is to be audited."""
        if not self._chosen_of:
            return False
        offered, owed = self._programs.pop(program, (0, False))
        owed = owed or offered == self._place(program, offered)
        chosen = owed and key not in self._chosen
        if chosen:
            owed = False
            self._chosen[key] = None
        self._programs[program] = (offered + 1, owed)
        if len(self._programs) > MAX_PROGRAMS:
            self._programs.popitem(last=False)
        if len(self._chosen) > MAX_CHOSEN:
            self._chosen.popitem(last=False)
        return chosen

    def _place(self, program: str, offered: int) -> int:
        """Return which offer is chosen of those that `offered` is among."""
        block = offered * self._chosen_of // self._offers
        start = -(-block * self._offers // self._chosen_of)
        size = -(-(block + 1) * self._offers // self._chosen_of) - start
        lot = f"{self._seed}\0{program}\0{block}".encode()
        return start + xxh3_64_intdigest(lot) % size
