"""Where two outputs differ: format, section or member, bytes, and what stands there."""

from __future__ import annotations

from dataclasses import replace

from determinism.attribution.place import ABSENT, MAX_PLACES, Found, Walk
from determinism.difference import Attributed
from determinism.outcome import Difference


def places(
    where: str, first: bytes, then: bytes, *, first_digest: str, then_digest: str
) -> list[Attributed]:
    """Return the places in which an output's contents differ, at most MAX_PLACES.

    where, first_digest, then_digest: as Attributed has them. No cause is told.
    """
    return [
        each.place
        for each in found(where, first, then, first_digest=first_digest, then_digest=then_digest)
    ]


def found(
    where: str, first: bytes, then: bytes, *, first_digest: str, then_digest: str
) -> list[Found]:
    """Return the same as `places`, with what the cause of each is told from.

    What says something of its own goes before what follows from it.
    """
    if first == then:
        return []
    walk = Walk(Attributed(where=where, first=first_digest, then=then_digest))
    walk.compare(first, then)
    return sorted(walk.found, key=lambda each: each.derived)[:MAX_PLACES]


def found_in(difference: Difference, first: bytes | None, then: bytes | None) -> list[Found]:
    """Return the places of one difference of two outcomes.

    first, then: contents of the output or stream, where it has any and they are at hand.
    What is no contents is a place of its own: an output that is absent, the target of a symlink,
    the executable bit, the exit code.
    """
    whole = Attributed(where=difference.where, first=difference.first, then=difference.then)
    kinds = _kind(difference.first), _kind(difference.then)
    if "absent" in kinds and not difference.where.startswith("std"):
        return [Found(place=replace(whole, part=ABSENT))]
    if kinds == ("symlink", "symlink"):
        return _symlink(whole)
    if kinds[0] != kinds[1]:
        return [Found(place=replace(whole, part=" and ".join(kinds)))]
    if kinds == ("number", "number"):
        return [Found(place=replace(whole, first_text=difference.first, then_text=difference.then))]
    modes = [text.endswith(" executable") for text in difference[1:]]
    bit = [Found(place=replace(whole, part="executable bit"))] if modes[0] != modes[1] else []
    if first is None or then is None:
        return bit or [Found(place=whole)]
    named = {"first_digest": difference.first, "then_digest": difference.then}
    return bit + found(difference.where, first, then, **named)


def _symlink(whole: Attributed) -> list[Found]:
    targets = [text.removeprefix("symlink to ") for text in (whole.first, whole.then)]
    walk = Walk(replace(whole, format="symlink"))
    walk.compare(targets[0].encode(), targets[1].encode())
    return [replace(each, place=replace(each.place, part="target")) for each in walk.found]


def _kind(text: str) -> str:
    if not text:
        return "absent"
    if text.startswith("symlink to "):
        return "symlink"
    if text.startswith("tree "):
        return "directory"
    return "file" if "/" in text else "number"
