"""Which calls are let in: bounds on what one caller, and all of them, have under way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from access.identity import Identity
from access.refusal import TooMuch


class Cost(Enum):
    """How early a kind of call is turned away: the part of a bound up to which it is let in."""

    CHEAP = 1.0
    """Answered from memory; builds go on by it."""
    ORDINARY = 0.9
    HEAVY = 0.8
    """Brings new work or new bytes, which can as well come later."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds over all callers: calls under way, and bytes of requests and answers in memory."""

    calls: int
    bytes_in_flight: int


@dataclass(slots=True)
class _Use:
    calls: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Admission:
    """What is under way. Whatever is added is to be taken off again."""

    limits: ServerLimits
    calls: int = 0
    bytes: int = 0
    _uses: dict[str, _Use] = field(default_factory=dict)
    _held: Counter[tuple[str, str]] = field(default_factory=Counter)

    def enter(self, identity: Identity, cost: Cost, size: int) -> None:
        """Let a call in whose request has `size` bytes; raise TooMuch, and nothing has changed.

        One that is alone is let in whatever its size, so that none is turned away for ever.
        """
        limits = self.limits
        if self.calls >= limits.calls * cost.value:
            raise TooMuch("server_calls", f"{self.calls} calls are under way, as many as fit")
        if self.bytes and self.bytes + size > limits.bytes_in_flight * cost.value:
            raise TooMuch("server_bytes", f"{self.bytes} bytes are under way, as many as fit")
        if identity.limits is not None:
            self._enter_as(identity, size)
        self.calls += 1
        self.bytes += size

    def _enter_as(self, identity: Identity, size: int) -> None:
        limits = identity.limits
        assert limits is not None
        use = self._uses.get(identity.name)
        if use is None:
            use = self._uses[identity.name] = _Use()
        if use.calls >= limits.calls:
            raise TooMuch("caller_calls", f"{_who(identity)} has {use.calls} calls under way")
        if use.bytes and use.bytes + size > limits.bytes_in_flight:
            raise TooMuch("caller_bytes", f"{_who(identity)} has {use.bytes} bytes under way")
        use.calls += 1
        use.bytes += size

    def add(self, identity: Identity, size: int) -> None:
        """Count bytes that a call which is in has more of; fewer where `size` is negative."""
        self.bytes += size
        if identity.limits is not None:
            use = self._uses.get(identity.name)
            if use is None:
                use = self._uses[identity.name] = _Use()
            use.bytes += size
            if not use.calls and not use.bytes:
                del self._uses[identity.name]

    def leave(self, identity: Identity, size: int) -> None:
        """Take a call off, with bytes that it still had."""
        self.calls -= 1
        if identity.limits is not None:
            self._uses[identity.name].calls -= 1
        self.add(identity, -size)

    def hold(self, identity: Identity, what: str, limit: int) -> None:
        """Count what outlives its call; raise TooMuch where the caller has `limit` of it."""
        held = self._held[identity.name, what]
        if held >= limit:
            raise TooMuch(f"caller_{what}", f"{_who(identity)} has {held} {what} under way")
        self._held[identity.name, what] += 1

    def let_go(self, identity: Identity, what: str) -> None:
        """Take a thing off that was held."""
        key = identity.name, what
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is counted any more."""
        return not (self.calls or self.bytes or self._uses or self._held)


def _who(identity: Identity) -> str:
    return repr(identity.name)
