"""Moments, as people write them."""

from __future__ import annotations

import re
import time
from datetime import datetime

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


class Time(click.ParamType[float]):
    """A moment, in seconds since 1970."""

    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return parse_time(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_time(text: str) -> float:
    """Read a moment: `90m`, `2h`, `3d` or `1w` ago, or a date and time by ISO 8601.

    Returns seconds since 1970, at least 0. A time without a zone is in the machine's own.
    Raises ValueError if `text` is neither.
    """
    if ago := _AGO.fullmatch(text):
        return max(0.0, time.time() - float(ago[1]) * _UNITS[ago[2]])
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: write 90m, 2h, 3d, 1w (ago), 2026-01-31 or 2026-01-31T18:00Z"
        ) from None
