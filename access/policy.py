"""Grants: which rights who has where. What is not granted is not allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache

from access.identity import EVERY_RIGHT, CallerLimits, Identity, Right

ANONYMOUS = "anonymous"
EVERYONE = "everyone"
USER, TOKEN, CERTIFICATE, GROUP = "user:", "token:", "certificate:", "group:"
MAX_NAME = 256  # characters; longer ones are nobody's
REMEMBERED = 10_000  # identities, of a few hundred bytes each

_READ = frozenset({Right.CAS_READ, Right.CACHE_READ})
_DEVELOP = _READ | {Right.CAS_WRITE, Right.CACHE_PROPOSE, Right.EXECUTE}
ROLES: Mapping[str, frozenset[Right]] = {
    "reader": _READ,
    "developer": _DEVELOP,
    "ci": _DEVELOP | {Right.CACHE_WRITE},
    "worker": frozenset({Right.CAS_READ, Right.CAS_WRITE, Right.WORK}),
    "admin": EVERY_RIGHT,
}
"""Rights that go together, by the name that a grant may have in their place."""


def is_name(text: object) -> bool:
    """Tell whether a caller can be called that: it stands in messages and logs."""
    return isinstance(text, str) and 0 < len(text) <= MAX_NAME and text.isprintable()


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights for those in `who`, in `instances`. limits: what these have in place of the usual."""

    who: frozenset[str]
    instances: tuple[str, ...]
    rights: frozenset[Right]
    limits: CallerLimits | None = None


class Policy:
    """All grants. limits: of callers whose grants say nothing of limits."""

    def __init__(self, grants: Iterable[Grant], limits: CallerLimits) -> None:
        self._grants = tuple(grants)
        self._limits = limits
        self.identity = lru_cache(REMEMBERED)(self._identity)

    def anonymous(self) -> Identity:
        """Return who calls without credentials."""
        return self.identity(ANONYMOUS)

    def _identity(self, name: str, groups: frozenset[str] = frozenset()) -> Identity:
        """Return what the grants make of a caller.

        name: with its kind in front, such as USER; ANONYMOUS. Whoever is authenticated may at
        least what callers without credentials may.
        """
        known = {name, ANONYMOUS}
        if name != ANONYMOUS:
            known |= {EVERYONE, *(GROUP + group for group in groups)}
        rights: dict[str, frozenset[Right]] = {}
        limits: list[CallerLimits] = []
        for grant in self._grants:
            if known.isdisjoint(grant.who):
                continue
            for instance in grant.instances:
                rights[instance] = rights.get(instance, frozenset()) | grant.rights
            if grant.limits is not None:
                limits.append(grant.limits)
        return Identity(name, rights, _widest(limits) if limits else self._limits)


def _widest(limits: Iterable[CallerLimits]) -> CallerLimits:
    """Return the most that any of `limits` allows."""
    every = tuple(limits)
    return CallerLimits(
        **{field.name: max(getattr(each, field.name) for each in every)
           for field in fields(CallerLimits)}
    )  # fmt: skip
