"""Who calls, and what they may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeAlias


class Right(StrEnum):
    """What a caller may do in an instance; each stands alone, none includes another."""

    CAS_READ = "cas_read"
    """Read blobs, and ask which are there."""
    CAS_WRITE = "cas_write"
    """Upload blobs."""
    CACHE_READ = "cache_read"
    """Read results of actions."""
    CACHE_WRITE = "cache_write"
    """Upload results that everyone is answered with."""
    CACHE_PROPOSE = "cache_propose"
    """Upload results that only the uploader is answered with, until they are confirmed."""
    EXECUTE = "execute"
    """Have actions run."""
    WORK = "work"
    """Run actions for others: be a worker."""
    PINS = "pins"
    """Replace and drop pins, and administer the server otherwise."""


class Scope(Enum):
    """Where a right is needed that is not one of a single instance."""

    ANY = "any instance"
    ALL = "all instances"


Place: TypeAlias = "str | Scope"
"""An instance name, or what stands for several."""

ALL_INSTANCES = "*"
EVERY_RIGHT = frozenset(Right)


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """What one caller may have under way at one time: calls, bytes, executions, uploads."""

    calls: int
    bytes_in_flight: int
    executions: int
    open_writes: int


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller that was authenticated, or what stands for all callers where none is.

    name: the same for all calls of one caller, "" where callers are not told apart.
    grants: rights by instance name, those of ALL_INSTANCES for every instance.
    limits: None where only the server's own bounds count.
    """

    name: str
    grants: Mapping[str, frozenset[Right]]
    limits: CallerLimits | None = None

    def may(self, right: Right, instance: str) -> bool:
        return right in self.grants.get(ALL_INSTANCES, ()) or right in self.grants.get(instance, ())

    def may_in(self, right: Right, place: Place, served: Iterable[str]) -> bool:
        """Tell whether there is a right in `place`.

        served: all instance names that there are; none where every name is served.
        """
        match place:
            case str():
                return self.may(right, place)
            case Scope.ANY:
                return any(right in rights for rights in self.grants.values())
            case Scope.ALL:
                everywhere = right in self.grants.get(ALL_INSTANCES, ())
                names = tuple(served)
                return everywhere or bool(names and all(self.may(right, name) for name in names))


EVERYBODY = Identity("", {ALL_INSTANCES: EVERY_RIGHT})
"""Every caller of a server without access control."""

NOBODY = Identity("nobody", {})
"""What stands in `current_identity` of a server with access control until a caller is known."""

current_identity: ContextVar[Identity] = ContextVar("current_identity")
"""The caller of the call that is being answered. Set before a service's method begins."""
