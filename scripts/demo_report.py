"""How the demo talks to who watches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Column, Table

from tests.bazel.driver import Build

MIB = 1 << 20
HASH_CHARACTERS = 16
"""Of a hash, as many as tell two files apart at a glance."""

console = Console(highlight=False, soft_wrap=True)


class Broken(Exception):
    """A promise that did not hold.

    said: what Bazel printed, empty where it has no part in it.
    """

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(reason)
        self.said = said


@dataclass(frozen=True, slots=True)
class Throw:
    """One build of the action that is never alike.

    digest: of what Bazel got, `hash/size`.
    """

    title: str
    build: Build
    digest: str


def say(title: str, text: str) -> None:
    """Begin a part of the demo."""
    console.print(f"\n[bold cyan]{title}[/]")
    console.print(text, markup=False)


def passed(build: Build) -> Build:
    """Return `build`; raise Broken if it did not end well."""
    if build.status:
        raise Broken(f"bazel build ended with status {build.status}", build.output)
    return build


def builds_table(builds: Mapping[str, Build]) -> Table:
    """Return what each build did, a line each, by its title."""
    table = Table(Column("build", no_wrap=True), box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("actions", "remote hits", "run", "seconds", "sent", "got"):
        table.add_column(column, justify="right", no_wrap=True)
    for title, build in builds.items():
        table.add_row(
            title,
            str(len(build.spawns)),
            str(build.remote_hits),
            str(len(build.executed)),
            f"{build.seconds:.1f}",
            f"{build.traffic.sent_bytes / MIB:.1f} MiB",
            f"{build.traffic.received_bytes / MIB:.1f} MiB",
        )
    return table


def throws_table(throws: list[Throw]) -> Table:
    """Return what Bazel got each time, a line each."""
    table = Table("build", "what Bazel got", "where from", box=box.SIMPLE_HEAD, pad_edge=False)
    for throw in throws:
        same = throw.digest == throws[0].digest
        shown = throw.digest[:HASH_CHARACTERS]
        table.add_row(
            throw.title,
            f"[green]{shown}[/]" if same else f"[yellow]{shown}[/]",
            "a run on the worker" if throw.build.executed else "the pinned result",
        )
    return table


def layers_table(
    parts: Sequence[str], actions: Mapping[str, int], off: Mapping[str, int], on: Mapping[str, int]
) -> Table:
    """Return, for each part of a work space, how many actions differ between two servers.

    actions: of one build. off, on: those that differ with the determinism layer off, and on.
    """
    table = Table(Column("part", no_wrap=True), box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("actions", "others with the layer off", "with it on"):
        table.add_column(column, justify="right")
    for part in parts:
        counts = (actions.get(part, 0), off.get(part, 0), on.get(part, 0))
        table.add_row(part, *map(str, counts))
    table.add_section()
    totals = (sum(each.values()) for each in (actions, off, on))
    table.add_row("in all", *map(str, totals))
    return table
