"""Tells whether both of two runs wrote their own time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from determinism.attribution.clue import Circumstances
from determinism.attribution.moments import (
    DAY,
    MAX_ZONE,
    TIME_OF_DAY,
    WRAP_SECONDS,
    WRAPPED_MILLISECONDS,
    ZONE_STEP,
    Moment,
    moments,
)
from determinism.attribution.place import Sample

SLACK_SECONDS = 2  # the clocks of a worker and of a file's writer, and their grain


def times_of_both(sample: Sample, first: Circumstances, then: Circumstances) -> str:
    """Name the shape of a time that stands on both sides and lies in each one's run; else ""."""
    ours = _offsets(moments(*sample[:3]), first)
    theirs = _offsets(moments(*sample[3:]), then)
    return next((key[0] for key in ours if ours[key] & theirs.get(key, set())), "")


def _offsets(found: Iterable[Moment], run: Circumstances) -> dict[tuple[str, int], set[int]]:
    """Return, by shape and place, with which offsets from UTC a time lies in the run.

    Binary times have to stand at the same place on both sides; texts may be of other lengths.
    """
    offsets: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for moment in found:
        fitting = {
            offset for offset in _zones(moment) if _within(moment, moment.seconds - offset, run)
        }
        if fitting:
            offsets[moment.shape, moment.at] |= fitting
    return offsets


def _zones(moment: Moment) -> Iterable[int]:
    return (0,) if moment.zoned else sorted(range(-MAX_ZONE, MAX_ZONE + 1, ZONE_STEP), key=abs)


def _within(moment: Moment, seconds: float, run: Circumstances) -> bool:
    low, high = run.begun - SLACK_SECONDS - moment.grain, run.ended + SLACK_SECONDS
    period = {TIME_OF_DAY: float(DAY), WRAPPED_MILLISECONDS: WRAP_SECONDS}.get(moment.shape)
    if period is not None:
        return (seconds - low) % period <= high - low
    return low <= seconds <= high
