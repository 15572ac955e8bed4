"""What a case came to: one line of the table, and whether it is as expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from determinism.outcome import Outcome
from lab.cases import CALM, Means
from lab.runs import Seen

RIGHT = 0.9
"""Part of the audited cases whose cause is to be right."""


@dataclass(frozen=True, slots=True)
class Count:
    """So many different results, of so many runs."""

    different: int
    runs: int

    def __str__(self) -> str:
        return f"{self.different} of {self.runs}" if self.runs else "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One case.

    differs: kind of non-determinism, and where it shows. plain, prevented, rewritten: of runs as
    plain processes, in the sandbox, and with rewriting as well. answers: different results that
    clients were answered. means: what Holdfast did about it, by these numbers; None if it could not
    be run. cause: what the audit found. cause_right: None where nothing was audited. faults: what
    is not as expected.
    """

    name: str
    tools: tuple[str, ...]
    command: str
    kind: str
    differs: str
    plain: Count
    prevented: Count
    rewritten: Count
    answers: int
    means: Means | None
    expected: Means
    cause: str
    cause_right: bool | None
    faults: tuple[str, ...]


def row(seen: Seen) -> Row:
    """Judge one case."""
    expected = seen.case.expected
    audit = seen.audit
    return Row(
        name=seen.case.name,
        tools=tuple(seen.case.tools),
        command=seen.case.command,
        kind=expected.kind,
        differs=_differs(seen),
        plain=Count(len({tuple(sorted(made.items())) for made in seen.plain}), len(seen.plain)),
        prevented=Count(_distinct(seen.preventing), len(seen.preventing)),
        rewritten=Count(_distinct(seen.rewriting), len(seen.rewriting)),
        answers=_distinct(seen.answers),
        means=_means(seen),
        expected=expected.means,
        cause=", ".join(audit.causes) if audit else "",
        cause_right=audit.right(expected) if audit else None,
        faults=tuple(_faults(seen)),
    )


def _means(seen: Seen) -> Means | None:
    """Tell what made the results one, by what was seen; None if there are none."""
    if not seen.rewriting:
        return None
    if seen.case.expected.kind in CALM:
        return Means.NOTHING
    if _distinct(seen.rewriting) > 1:
        return Means.PINNED
    return Means.PREVENTED if _distinct(seen.preventing) == 1 else Means.REWRITTEN


def _faults(seen: Seen) -> Iterable[str]:
    yield from seen.problems
    expected = seen.case.expected
    if expected.means != Means.PINNED and (count := _distinct(seen.rewriting)) > 1:
        yield f"{count} different results: {_where(seen.rewriting)}"
    if seen.unlike_plain:
        yield f"not as of a plain run: {', '.join(seen.unlike_plain)}"
    if seen.answers:
        yield from _pinning_faults(seen)
    if seen.audit and (lost := set(seen.audit.causes) - set(seen.audit.recorded)):
        yield f"found by the audit, and not on record: {', '.join(sorted(lost))}"


def _pinning_faults(seen: Seen) -> Iterable[str]:
    if _distinct(seen.answers) > 1:
        yield f"clients were given different answers: {_where(seen.answers)}"
    if seen.first not in seen.answers:
        yield "what clients are answered is not the first result"
    outputs = [one.outputs for one in seen.rewriting if one.streams["exit code"] == "0"]
    if any(one != outputs[0] for one in outputs) and not seen.conflicts:
        yield "the server has not counted that results differed"


def share_right(rows: Sequence[Row]) -> float:
    """Return the part of the audited cases whose cause is right; 1 where none was audited."""
    audited = [row.cause_right for row in rows if row.cause_right is not None]
    return sum(audited) / len(audited) if audited else 1.0


def _differs(seen: Seen) -> str:
    expected = seen.case.expected
    if expected.kind in CALM:
        return "nothing"
    paths = expected.measured.differing_paths or expected.outputs
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{expected.kind} in {paths[0]}{more}"


def _where(outcomes: Sequence[Outcome]) -> str:
    """Say where `outcomes` are not all alike."""
    first = outcomes[0]
    places = {each.where for other in outcomes for each in first.differences(other)}
    return ", ".join(sorted(places))


def _distinct(outcomes: Sequence[Outcome]) -> int:
    return len({repr(each) for each in map(_sorted, outcomes)})


def _sorted(outcome: Outcome) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return sorted(outcome.outputs.items()), sorted(outcome.streams.items())
