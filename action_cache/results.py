"""What is kept of an action's results, and what a store of them is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from cas.digest import Digest
from protos import remote_execution_pb2 as reapi


class ActionKey(NamedTuple):
    """One action in one instance. Its digest says the digest function."""

    instance: str
    action: Digest


@dataclass(frozen=True, slots=True)
class Kept:
    """A result, with all that it refers to.

    serialised: an ActionResult. references: outputs, stdout, stderr, Trees and directories, and
    what is in those.
    """

    serialised: bytes
    references: frozenset[Digest]

    @property
    def result(self) -> reapi.ActionResult:
        return reapi.ActionResult.FromString(self.serialised)


@dataclass(frozen=True, slots=True)
class Pin:
    """The first result of an action.

    first_seen, last_seen: seconds since 1970. revision: 1, and one more each time another result
    took its place. agreements, conflicts: later results that were the same, or not.
    losses: revisions that came because the blobs of the one before were gone.
    """

    kept: Kept
    first_seen: float
    last_seen: float
    revision: int = 1
    agreements: int = 0
    conflicts: int = 0
    losses: int = 0

    def agreed(self, now: float) -> Self:
        return replace(self, agreements=self.agreements + 1, last_seen=now)

    def contradicted(self, now: float) -> Self:
        return replace(self, conflicts=self.conflicts + 1, last_seen=now)


@dataclass(frozen=True, slots=True)
class Slot:
    """All that is known of one action.

    entry: what a hit is answered with. intact: whether all that the pin refers to is there.
    """

    entry: Kept | None
    pin: Pin | None
    intact: bool


class ResultStore(ABC):
    """Results and pins by action.

    An entry goes when a blob that it refers to goes; a pin stays.
    """

    @abstractmethod
    async def find(self, key: ActionKey) -> Kept | None:
        """Return the entry of `key`."""

    @abstractmethod
    async def change(self, key: ActionKey, decide: Callable[[Slot], Slot]) -> Slot:
        """Replace what is known of `key` by what `decide` makes of it, atomically; return that.

        decide: pure; it may be called more than once. Of its answer, `intact` is not looked at.
        """

    @abstractmethod
    async def pin(self, key: ActionKey) -> Pin | None:
        """Return the pin of `key`."""

    @abstractmethod
    def pins(self) -> AsyncIterator[tuple[ActionKey, Pin]]:
        """Yield every pin, in no order."""
