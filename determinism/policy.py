"""What becomes of a new result: the policy of pinning, as a decision without effects."""

from __future__ import annotations

from dataclasses import dataclass, replace as replaced
from enum import StrEnum

from action_cache.mode import Mode
from action_cache.results import UNKNOWN, Kept, Origin, Pin, Proposal, Slot
from cas.digest import DigestFunction
from determinism.outcome import Difference, outcome_of


class Verdict(StrEnum):
    """How a result relates to the one that is pinned."""

    UNPINNED = "unpinned"
    """Nothing is compared for it."""
    FIRST = "first"
    """There was no pin; it is the pin now."""
    AGREED = "agreed"
    """The same as the pin."""
    CONFLICT = "conflict"
    """Not the same; the pin stays."""
    SUPERSEDED = "superseded"
    """Not the same, and blobs of the pin are gone; it is the pin now, which is a loss."""
    REPLACED = "replaced"
    """Somebody with the right to asked for it to become the pin."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is kept from now on, what the caller is answered, and how the two results differ.

    ruled: proposals that nobody is answered with any more.
    """

    verdict: Verdict
    slot: Slot
    answer: Kept
    differences: tuple[Difference, ...] = ()
    ruled: tuple[Proposal, ...] = ()


def decide(
    slot: Slot,
    new: Kept,
    *,
    mode: Mode,
    replace: bool,
    function: DigestFunction,
    now: float,
    origin: Origin = UNKNOWN,
) -> Decision:
    """Settle what `new`, a successful result, does to `slot`.

    function: that of the action. now: seconds since 1970. origin: of `new`.
    Source: the policy in docs/architecture.md.
    """
    if mode is Mode.OFF:
        return Decision(Verdict.UNPINNED, Slot(new, slot.pin, intact=slot.intact), new)
    pin = slot.pin
    if pin is None:
        made = Pin(new, first_seen=now, last_seen=now, origin=origin)
        return Decision(Verdict.FIRST, Slot(new, made, intact=True), new)
    first, then = outcome_of(pin.kept.result, function), outcome_of(new.result, function)
    differences = tuple(first.differences(then))
    if not differences:
        # The pinned result is answered again, with what it says of its first run; the new one where
        # it does without blobs of the pin that are gone, such as a stream that it has inline.
        whole = slot.intact or pin.kept.references <= new.references
        agreed = pin.agreed(now) if whole else replaced(pin.agreed(now), kept=new)
        return Decision(Verdict.AGREED, Slot(agreed.kept, agreed, intact=True), agreed.kept)
    if replace:
        return _renewed(Verdict.REPLACED, pin, new, differences, origin=origin, now=now)
    if not slot.intact:
        return _renewed(Verdict.SUPERSEDED, pin, new, differences, origin=origin, now=now)
    answer = new if mode is Mode.OBSERVE else pin.kept
    after = Slot(answer, pin.contradicted(now), intact=True)
    return Decision(Verdict.CONFLICT, after, answer, differences)


def _renewed(
    verdict: Verdict,
    pin: Pin,
    new: Kept,
    differences: tuple[Difference, ...],
    *,
    origin: Origin,
    now: float,
) -> Decision:
    renewed = Pin(
        new,
        first_seen=now,
        last_seen=now,
        revision=pin.revision + 1,
        agreements=pin.agreements,
        conflicts=pin.conflicts + (verdict is Verdict.SUPERSEDED),
        losses=pin.losses + (verdict is Verdict.SUPERSEDED),
        origin=origin,
    )
    return Decision(verdict, Slot(new, renewed, intact=True), new, differences)
