"""What an action asks of a worker, and what a worker offers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Requirement = tuple[tuple[str, str], ...]
"""What an action asks for, in one form for all that ask alike: see `requirement`."""

# Properties that choose how an action is treated, not where it runs: those that start with OWN, and
# one that names a persistent worker that the action may use and does not need.
OWN = "holdfast-"
PERSISTENT_WORKER = "persistentWorkerKey"


def requirement(properties: Iterable[tuple[str, str]]) -> Requirement:
    """Return those of an action's platform properties that a worker has to offer.

    properties: pairs of name and value, in any order; a name may stand there more than once.
    """
    return tuple(
        sorted(
            {
                pair
                for pair in properties
                if not pair[0].startswith(OWN) and pair[0] != PERSISTENT_WORKER
            }
        )
    )


@dataclass(frozen=True, slots=True)
class Platform:
    """What a worker offers: pairs of name and value. A name may have several values."""

    offered: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, properties: Iterable[tuple[str, str]]) -> Platform:
        return cls(frozenset(properties))

    def serves(self, required: Requirement) -> bool:
        """Whether each pair that is asked for is offered.

        Source: remote_execution.proto, message Platform: a worker must match all properties.
        """
        return self.offered.issuperset(required)

    def __str__(self) -> str:
        return listed(sorted(self.offered))


def listed(pairs: Iterable[tuple[str, str]]) -> str:
    """Name `pairs` to people."""
    return ", ".join(f"{name}={value}" for name, value in pairs) or "no properties"
