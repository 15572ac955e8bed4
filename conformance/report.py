"""What a run comes to: counts, JSON and JUnit's XML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from conformance.check import Level
from conformance.running import Ending, Outcome

Counts = Counter[tuple[Level, Ending]]
Json = dict[str, object]


def counts(outcomes: Sequence[Outcome]) -> dict[str, Counts]:
    """Return for each section how many of its checks ended how, by level."""
    by_section: dict[str, Counts] = {}
    for outcome in outcomes:
        section = by_section.setdefault(outcome.check.section, Counter())
        section[outcome.check.level, outcome.ending] += 1
    return by_section


def conforms(outcomes: Sequence[Outcome], *, strict: bool = False) -> bool:
    """Say whether every MUST that applies was kept; if `strict`, every other rule too."""
    return not any(
        outcome.ending in {Ending.FAILED, Ending.ERROR}
        and (strict or outcome.check.level is Level.MUST)
        for outcome in outcomes
    )


def as_json(server: str, outcomes: Sequence[Outcome]) -> Json:
    return {
        "server": server,
        "checks": [
            {
                "id": outcome.check.id,
                "section": outcome.check.section,
                "level": outcome.check.level,
                "rule": outcome.check.rule,
                "source": outcome.check.source,
                "outcome": outcome.ending,
                "seconds": round(outcome.seconds, 4),
                "reason": outcome.reason,
                "exchanges": list(outcome.exchanges),
            }
            for outcome in outcomes
        ],
    }


def as_junit(server: str, outcomes: Sequence[Outcome]) -> str:
    """Return XML with a test suite for each section, as continuous integration reads it."""
    root = ET.Element("testsuites", name=f"conformance of {server}")
    suites: dict[str, ET.Element] = {}
    for outcome in outcomes:
        section = outcome.check.section
        if section not in suites:
            suites[section] = ET.SubElement(root, "testsuite", name=section)
        case = ET.SubElement(
            suites[section],
            "testcase",
            classname=f"{section}.{outcome.check.level}",
            name=outcome.check.name,
            time=f"{outcome.seconds:.4f}",
        )
        _add_ending(case, outcome)
    for section, section_counts in counts(outcomes).items():
        suite = suites[section]
        suite.set("tests", str(section_counts.total()))
        for name, ending in (
            ("failures", Ending.FAILED),
            ("errors", Ending.ERROR),
            ("skipped", Ending.SKIPPED),
        ):
            suite.set(name, str(sum(section_counts[level, ending] for level in Level)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


_ELEMENTS = {Ending.FAILED: "failure", Ending.ERROR: "error", Ending.SKIPPED: "skipped"}


def _add_ending(case: ET.Element, outcome: Outcome) -> None:
    if outcome.ending is Ending.PASSED:
        return
    element = ET.SubElement(case, _ELEMENTS[outcome.ending], message=_printable(outcome.reason))
    if outcome.exchanges:
        rule = f"{outcome.check.rule}\n({outcome.check.source})\n\n"
        element.text = _printable(rule + "\n".join(outcome.exchanges))


def _printable(text: str) -> str:
    """Replace what XML 1.0 cannot hold: servers may quote NUL and worse."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
