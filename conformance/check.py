"""A check: one rule of the specification, and how to see whether a server keeps it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from conformance.target import Target

Body = Callable[[Target], Awaitable[None]]
Need = Callable[[Target], str]
"""Returns why a check does not apply to a server, or nothing if it does."""


class Level(StrEnum):
    """How much the specification wants it.

    MUST: the text says must, or states as a fact what clients rely on. SHOULD: it recommends, or
    leaves a choice of which one is plainly better. ROBUSTNESS: the text is silent; a server that
    is open to many clients answers all the same, within bounded time, and goes on.
    """

    MUST = "MUST"
    SHOULD = "SHOULD"
    ROBUSTNESS = "ROBUSTNESS"


MUST, SHOULD, ROBUSTNESS = Level


@dataclass(frozen=True, slots=True)
class Check:
    """One rule, and the body that raises Violation where a server breaks it.

    section, name: together they are its `id`. rule: what the server has to do, in our words.
    source: where the specification says so; `l.` stands for lines of remote_execution.proto as
    of 2026-04-01. seconds: how long it may take; None: as the caller of the suite says.
    """

    section: str
    name: str
    level: Level
    rule: str
    source: str
    needs: tuple[Need, ...]
    seconds: float | None
    body: Body

    @property
    def id(self) -> str:
        return f"{self.section}.{self.name}"

    def inapplicable(self, target: Target) -> str:
        """Return why the rule does not apply to `target`, or nothing if it does."""
        reasons = (need(target) for need in self.needs)
        return next((reason for reason in reasons if reason), "")


@dataclass(frozen=True, slots=True)
class Section:
    """What checks of one module have in common; calling it decorates one of them.

    Two modules may belong to one section. needs: hold for each check of it.
    """

    name: str
    needs: tuple[Need, ...] = ()

    def __call__(
        self,
        level: Level,
        rule: str,
        *,
        source: str,
        needs: Iterable[Need] = (),
        seconds: float | None = None,
    ) -> Callable[[Body], Check]:
        def decorate(body: Body) -> Check:
            return Check(
                section=self.name,
                name=getattr(body, "__name__", "unnamed"),
                level=level,
                rule=rule,
                source=source,
                needs=(*self.needs, *needs),
                seconds=seconds,
                body=body,
            )

        return decorate
