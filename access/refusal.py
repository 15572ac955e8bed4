"""Why a call is not answered, as facts. Each has a `reason` of a closed set, to count it by."""

from __future__ import annotations

from enum import StrEnum

from access.identity import Place, Right, Scope

SHOWN = 100  # characters of an instance name, in messages and logs


class Doubt(StrEnum):
    """What is wrong with credentials."""

    ABSENT = "no_credentials"
    MALFORMED = "malformed"
    UNKNOWN = "unknown_token"
    KEY = "unknown_key"
    SIGNATURE = "signature"
    EXPIRED = "expired"
    EARLY = "not_yet_valid"
    AUDIENCE = "audience"
    ISSUER = "issuer"
    CLAIM = "claim"


class NotAuthenticated(Exception):
    """Credentials are needed, or those that came prove nothing."""

    def __init__(self, reason: Doubt, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RightMissing(Exception):
    """The caller is known, and has no right to what it asks."""

    def __init__(self, who: str, rights: tuple[Right, ...], place: Place) -> None:
        named = " or ".join(f"`{right}`" for right in rights)
        super().__init__(f"{who} has no right {named} in {where(place)}")
        self.reason = f"right_{rights[0]}"


class TooMuch(RuntimeError):
    """There is no room for the call now; there will be later. reason: which bound was met."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def where(place: Place) -> str:
    """Name a place for people. A client can name an instance of any length."""
    return place.value if isinstance(place, Scope) else f"instance {place[:SHOWN]!r}"
