"""Which canonical forms would take a difference out, or make it smaller; and whether all do."""

from __future__ import annotations

from collections.abc import Sequence

from determinism.attribution.clue import Circumstances
from determinism.canonical import WINDOW_SECONDS
from determinism.format import HEAD_BYTES, TAIL_BYTES, Conditions, Format, applied
from determinism.registry import FORMATS
from determinism.revision import no_members, recognised, revise


def helpful(
    name: str, first: bytes, then: bytes, first_run: Circumstances, then_run: Circumstances
) -> set[str]:
    """Return the formats, harmless ones left out, under which two versions would differ less.

    name: of the output. first, then: what two runs of one action made.
    """
    formats = recognised(FORMATS, first[:HEAD_BYTES], first[-TAIL_BYTES:], name)
    if not formats:
        return set()
    harmless = [each for each in FORMATS if each.harmless]
    found: set[str] = set()
    for format in FORMATS:
        if format.harmless:
            continue
        active = [*harmless, format]
        ours = _revised(name, first, active, first_run)
        theirs = _revised(name, then, active, then_run)
        if format.name not in ours[1] | theirs[1]:
            continue
        if _distance(ours[0], theirs[0]) < _distance(first, then):
            found.add(format.name)
    return found


def alike(
    name: str, first: bytes, then: bytes, first_run: Circumstances, then_run: Circumstances
) -> bool:
    """Tell whether two versions of an output have the same canonical form by all formats.

    As for `helpful`. Where the two runs say nothing of their times, no times are taken out.
    """
    if first == then:
        return True
    if not recognised(FORMATS, first[:HEAD_BYTES], first[-TAIL_BYTES:], name):
        return False
    ours = _revised(name, first, FORMATS, first_run)
    theirs = _revised(name, then, FORMATS, then_run)
    return ours[0] == theirs[0]


def _revised(
    name: str, data: bytes, active: Sequence[Format], run: Circumstances
) -> tuple[bytes, set[str]]:
    """Return the canonical form by the formats `active`, and those that changed something."""
    conditions = Conditions(
        begun=run.begun - WINDOW_SECONDS,
        ended=run.ended + WINDOW_SECONDS,
        root=run.root,
        seen_root="",
        in_inputs=lambda text: False,
        member=no_members,
    )
    formats = recognised(active, data[:HEAD_BYTES], data[-TAIL_BYTES:], name)
    revision = revise(data, name, formats, conditions, within=active, whole=True)
    revised = revision.whole if revision.whole is not None else applied(data, revision.edits)
    return revised, set(revision.formats)


def _distance(first: bytes, then: bytes) -> int:
    """Count the places at which two files differ."""
    length = min(len(first), len(then))
    apart = int.from_bytes(first[:length]) ^ int.from_bytes(then[:length])
    same = apart.to_bytes(length).count(0)
    return length - same + abs(len(first) - len(then))
