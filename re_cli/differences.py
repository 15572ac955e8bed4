"""How results of an action differ, as people read it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator

import click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from determinism.difference import Cause
from protos import admin_pb2 as admin

WIDE = 1000  # columns of an output that no person's window bounds: nothing is folded or cut
SHORT_DIGITS = 12  # of a hash, where there is no room for all
ROOM_FOR_DIGESTS = 160  # columns that two whole digests beside one another take, and their margin
SHOWN_RANGES = 8
STREAMS = frozenset({"stdout", "stderr", "exit code"})
_HASH = re.compile(rf"\b([0-9a-f]{{{SHORT_DIGITS}}})[0-9a-f]{{20,}}\b")
_FILLED = re.compile(r" +$", re.MULTILINE)
_PER_MINUTE, _PER_HOUR, _PER_DAY = 60, 3600, 86400


def stdout() -> Console:
    """Return stdout: as wide as its terminal or COLUMNS says, and without end where none does."""
    bounded = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return Console(highlight=False, width=None if bounded else WIDE)


def show(console: Console, *parts: RenderableType) -> None:
    """Print `parts` below one another, without the blanks that fill lines up."""
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    click.echo(_FILLED.sub("", captured.get()), nl=False)


def visible(text: str) -> str:
    """Return `text` with what would steer a terminal written out: outputs hold anything."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


def short(text: str) -> str:
    """Cut the hashes in `text`, and make it visible."""
    return _HASH.sub(r"\1…", visible(text))


def seconds_text(seconds: float) -> str:
    """Write a time for people, in its two largest units: `1 h 20 min`."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < _PER_MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, hours = divmod(whole // _PER_HOUR, 24)
    minutes = whole % _PER_HOUR // 60
    if whole >= _PER_DAY:
        return f"{days} d {hours} h"
    if whole >= _PER_HOUR:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s"


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number of things: `1 audit`, `2,000 audits`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def differences(found: Iterable[admin.Difference], width: int) -> Iterator[RenderableType]:
    """Yield each place that differs once, outputs before streams, with the first of its kind.

    found: in the order of the server. width: columns that there are.
    """
    kinds: dict[tuple[str, str, str, str], list[admin.Difference]] = {}
    for each in found:
        kinds.setdefault((each.where, each.format, each.part, each.cause), []).append(each)
    for alike in sorted(kinds.values(), key=lambda each: each[0].where in STREAMS):
        yield Padding(_difference(alike[0], len(alike), width), (0, 0, 0, 2))


def _difference(each: admin.Difference, times: int, width: int) -> Group:
    heading = Text(visible(each.where), style="bold")
    inside = ", ".join(visible(part) for part in (each.format, each.part) if part)
    if inside:
        heading.append(f"  {inside}", style="not bold")
    if times > 1:
        heading.append(f"  ({times:,} times; this is the latest)", style="not bold dim")
    return Group(heading, Padding(_rows(each, width), (0, 0, 0, 2)))


def _rows(each: admin.Difference, width: int) -> Group:
    """Say both sides, beside one another, then where, and why."""
    shown = visible if width >= ROOM_FOR_DIGESTS else short
    sides = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("first", "then"):
        sides.add_column(title, overflow="fold", header_style="dim")
    sides.add_row(Text(shown(each.first or "absent")), Text(shown(each.then or "absent")))
    if each.first_text or each.then_text:
        sides.add_row(
            Text(visible(each.first_text), style="red"),
            Text(visible(each.then_text), style="green"),
        )
    rows: list[RenderableType] = [sides]
    if each.ranges:
        rows.append(Text(f"bytes of the first: {_ranges(each)}"))
    rows.append(Text.assemble("cause: ", (visible(each.cause), "yellow"), _why(each)))
    return Group(*rows)


def _why(each: admin.Difference) -> str:
    if each.evidence:
        return f": {visible(each.evidence)}"
    found_out = each.latent or each.cause != Cause.UNKNOWN
    return "" if found_out else "; `holdfast audit` runs the action under other conditions to tell"


def _ranges(each: admin.Difference) -> str:
    """Write byte ranges in hexadecimal, both ends belonging to them."""
    shown = ", ".join(
        f"{one.start:#x}" if one.end - one.start <= 1 else f"{one.start:#x}-{one.end - 1:#x}"
        for one in each.ranges[:SHOWN_RANGES]
    )
    more = len(each.ranges) - SHOWN_RANGES
    return f"{shown} and {more} more" if more > 0 else shown
