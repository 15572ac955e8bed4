"""Who calls, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum


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


ALL_INSTANCES = "*"
EVERY_RIGHT = frozenset(Right)


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller that was authenticated, or what stands for all callers where none is.

    name: the same for all calls of one caller, "" where callers are not told apart.
    grants: rights by instance name, those of ALL_INSTANCES for every instance.
    """

    name: str
    grants: Mapping[str, frozenset[Right]]

    def may(self, right: Right, instance: str) -> bool:
        return right in self.grants.get(ALL_INSTANCES, ()) or right in self.grants.get(instance, ())


EVERYBODY = Identity("", {ALL_INSTANCES: EVERY_RIGHT})
"""Every caller of a server without access control."""

current_identity: ContextVar[Identity] = ContextVar("current_identity")
"""The caller of the call that is being answered. Set before a service's method begins."""
