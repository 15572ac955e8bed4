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
class Origin:
    """Where a result comes from; each is "" where it is not known.

    program: what the action runs, without its folder. target, mnemonic, invocation: what the client
    said of the action. toolchain: digest of the tools that the action saw. rules: those by which
    its outputs were brought into canonical form.
    """

    program: str = ""
    target: str = ""
    mnemonic: str = ""
    invocation: str = ""
    toolchain: str = ""
    rules: str = ""


UNKNOWN = Origin()


@dataclass(frozen=True, slots=True)
class Pin:
    """The first result of an action.

    first_seen, last_seen: seconds since 1970. revision: 1, and one more each time another result
    took its place. agreements, conflicts: later results that were the same, or not.
    losses: revisions that came because the blobs of the one before were gone. origin: of `kept`.
    """

    kept: Kept
    first_seen: float
    last_seen: float
    revision: int = 1
    agreements: int = 0
    conflicts: int = 0
    losses: int = 0
    origin: Origin = UNKNOWN

    def agreed(self, now: float) -> Self:
        return replace(self, agreements=self.agreements + 1, last_seen=now)

    def contradicted(self, now: float) -> Self:
        return replace(self, conflicts=self.conflicts + 1, last_seen=now)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A result that only its writer is answered with.

    writer: name of who uploaded it. proposed: seconds since 1970. comparable: not so where results
    of the action may differ, as of those without an input root: these never become everyone's.
    """

    writer: str
    kept: Kept
    proposed: float
    comparable: bool = True
    origin: Origin = UNKNOWN


@dataclass(frozen=True, slots=True)
class Slot:
    """All that is known of one action.

    entry: what a hit is answered with. intact: whether all that the pin refers to is there.
    proposals: the oldest first, one of each writer.
    """

    entry: Kept | None
    pin: Pin | None
    intact: bool
    proposals: tuple[Proposal, ...] = ()


class ResultStore(ABC):
    """Results and pins by action.

    An entry or a proposal goes when a blob that it refers to goes; a pin stays. Blobs of a pin that
    a later result differed from are known to be irreproducible: a store keeps them longer.
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
    def pins(self, instance: str | None = None) -> AsyncIterator[tuple[ActionKey, Pin]]:
        """Yield every pin of `instance`, of all instances where it is None, in no order.

        What comes and goes meanwhile may be left out; nothing is yielded twice.
        """
