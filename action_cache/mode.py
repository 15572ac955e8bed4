"""How strictly one instance holds actions to their first result."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """What is done with a result that differs from the first one of its action."""

    OFF = "off"
    OBSERVE = "observe"
    PIN = "pin"
    STRICT = "strict"
