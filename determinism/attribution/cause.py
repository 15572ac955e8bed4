"""Why two results differ, told from what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from determinism.attribution.clue import CERTAIN, NOTHING, POOR, Circumstances, Clue
from determinism.attribution.compare import found_in
from determinism.attribution.evidence import clues, random_name
from determinism.attribution.place import ABSENT, Found
from determinism.attribution.window import times_of_both
from determinism.difference import Attributed, Cause
from determinism.outcome import Difference

_ARCHIVES = {"ar", "cpio", "tar", "zip"}


def attributed(
    difference: Difference,
    first: bytes | None,
    then: bytes | None,
    first_run: Circumstances,
    then_run: Circumstances,
) -> list[Attributed]:
    """Return where and why two results differ in one output or stream; the likeliest first.

    first, then: contents, where there are any at hand. At least one place is returned.
    Each place's cause is told from what it holds; one that holds nothing telling takes the cause
    that is certain elsewhere in the output.
    """
    places = found_in(difference, first, then)
    judged = [(clue_of(place, first_run, then_run), place.place) for place in places]
    if not judged:
        judged = [(NOTHING, Attributed(where=difference.where, first=difference.first,
                                       then=difference.then))]  # fmt: skip
    best = max((clue for clue, _ in judged), key=lambda clue: clue.weight)
    judged.sort(key=lambda each: -each[0].weight)
    return [_settled(place, clue, best) for clue, place in judged]


def _settled(place: Attributed, clue: Clue, best: Clue) -> Attributed:
    if clue.weight < POOR and best.weight >= CERTAIN and clue is not best:
        return replace(place, cause=best.cause, evidence="follows from what else differs")
    return replace(place, cause=clue.cause, evidence=clue.evidence)


def likeliest(places: Sequence[Attributed]) -> tuple[Cause, str]:
    """Return the cause of an output whose places `attributed` told, and its evidence."""
    told = next((place for place in places if place.cause is not Cause.UNKNOWN), None)
    return (told.cause, told.evidence) if told else (Cause.UNKNOWN, "")


def clue_for(
    difference: Difference,
    first: bytes | None,
    then: bytes | None,
    first_run: Circumstances,
    then_run: Circumstances,
) -> Clue:
    """Return the best that the contents of two results suggest of one output or stream."""
    places = found_in(difference, first, then)
    clues = (clue_of(place, first_run, then_run) for place in places)
    return max(clues, key=lambda clue: clue.weight, default=NOTHING)


def clue_of(found: Found, first_run: Circumstances, then_run: Circumstances) -> Clue:
    """Return the best of what suggests a cause."""
    if found.derived:
        return _of_runs(first_run, then_run)
    return max(_all(found, first_run, then_run), key=lambda clue: clue.weight, default=NOTHING)


def _all(found: Found, first: Circumstances, then: Circumstances) -> Iterator[Clue]:
    place = found.place
    if place.part.endswith(ABSENT):
        yield random_name(place.first_text or place.then_text or place.where)
    if found.reordered:
        yield _order(place)
    for sample in found.samples:
        if shape := times_of_both(sample, first, then):
            yield Clue(85, Cause.TIME, f"each run wrote its own time: {shape}")
        yield from clues(sample, place.part, first, then)
    yield _of_runs(first, then)


def _of_runs(first: Circumstances, then: Circumstances) -> Clue:
    if first.toolchain and then.toolchain and first.toolchain != then.toolchain:
        return Clue(50, Cause.TOOLCHAIN, f"tools {first.toolchain} and {then.toolchain}")
    if first.rules != then.rules:
        return Clue(48, Cause.RULES, f"rules {first.rules!r} and {then.rules!r}")
    if first.root and then.root and first.root != then.root:
        return Clue(10, Cause.PATH, f"the input root was {first.root} and {then.root}")
    return NOTHING


def _order(place: Attributed) -> Clue:
    """Guess why the same things stand in another order; runs alone can tell."""
    if place.format.rpartition(" > ")[2] in _ARCHIVES:
        return Clue(55, Cause.ORDER, "the same members in another order")
    if place.where in {"stdout", "stderr"} or place.where.endswith((".log", "log.txt")):
        return Clue(55, Cause.RACE, "the same lines in another order, in a log")
    if place.part.rpartition(" > ")[2].startswith("lines "):
        return Clue(52, Cause.RACE, "the same lines in another order")
    return Clue(55, Cause.HASH_SEED, "the same items in another order within a line")
