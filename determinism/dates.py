"""Dates in texts, and whether an action wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from determinism.format import Conditions

ZONES_MINUTES = range(-12 * 60, 14 * 60 + 1, 15)
"""What local times are ahead of UTC by, anywhere, in minutes."""

_OFFSET = re.compile(rb"([+-])(\d\d):?(\d\d)")


def seconds_of(parts: Iterable[bytes | int]) -> int | None:
    """Return year, month, day, hour, minute and second, of UTC, in seconds since 1970.

    None if there is no such time. Parts at the end may be left out.
    """
    fields = [int(part) for part in parts]
    year, month, day, hour, minute, second = fields + [0] * (6 - len(fields))
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        return None


def offset_minutes(zone: bytes) -> int | None:
    """Return what a zone (`+0100`, `+01:00`, `Z`) is ahead of UTC by; None if it does not say."""
    if zone in {b"Z", b"UTC", b"GMT"}:
        return 0
    match = _OFFSET.fullmatch(zone)
    if not match:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return minutes if match[1] == b"+" else -minutes


def wrote(
    conditions: Conditions, local: int | None, zone: int | None, *, grain_seconds: int = 1
) -> bool:
    """Tell whether the action can have written a time.

    local: seconds since 1970, as a clock of the zone shows them. zone: minutes ahead of UTC, or
    None for any. grain_seconds: what the time was rounded down to.
    """
    if local is None:
        return False
    return any(
        conditions.begun < local - 60 * minutes + grain_seconds
        and local - 60 * minutes <= conditions.ended
        for minutes in (ZONES_MINUTES if zone is None else (zone,))
    )
