"""`holdfast conformance`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from conformance.check import Check, Level
from conformance.connection import Address, Unusable, connected
from conformance.report import as_json as report_json, as_junit, conforms, counts
from conformance.running import DEFAULT_SECONDS, Ending, Outcome, run
from conformance.suite import CHECKS, Unknown, chosen
from re_cli.failure import FAILED, USAGE, fail
from re_cli.output import json_option, print_json

_COLOURS = {Ending.PASSED: "green", Ending.FAILED: "red", Ending.SKIPPED: "yellow",
            Ending.ERROR: "magenta"}  # fmt: skip


_HEADER = re.compile("[a-z0-9_.-]+")  # gRPC over HTTP/2, Custom-Metadata
_HEADER_VALUE = re.compile("[ -~]*")


class _Pair(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "KEY=VALUE"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        key, equals, rest = value.partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, rest


class _Header(_Pair):
    """KEY=VALUE, as gRPC takes it: names are written small."""

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        key, rest = super().convert(value, param, ctx)
        if not _HEADER.fullmatch(key.lower()) or key.lower().endswith("-bin"):
            self.fail(f"{key!r} is no name of a header of text", param, ctx)
        if not _HEADER_VALUE.fullmatch(rest):
            self.fail(f"{key}: its value is not of printable ASCII characters", param, ctx)
        return key.lower(), rest


def _existing(_: click.Context, param: click.Parameter, pid: int | None) -> int | None:
    if pid is not None and not Path(f"/proc/{pid}").is_dir():
        raise click.BadParameter(f"there is no process {pid} on this machine", param=param)
    return pid


def _placed(_: click.Context, param: click.Parameter, file: Path | None) -> Path | None:
    """Find out before the checks run whether their outcomes can be written."""
    if file is not None and not file.parent.is_dir():
        raise click.BadParameter(f"there is no folder {file.parent}", param=param)
    return file


@click.command()
@click.argument("server", required=False, metavar="grpc://HOST:PORT")
@click.option("--instance", default="", metavar="NAME", help="Instance name.")
@click.option("--section", "sections", multiple=True, metavar="NAME", help="Run these alone.")
@click.option("--check", "ids", multiple=True, metavar="ID", help="Run these alone.")
@click.option("--list", "listing", is_flag=True, help="List the checks, and run none.")
@click.option("--platform", type=_Pair(), multiple=True, help="Property of every action.")
@click.option("--header", type=_Header(), multiple=True, help="Sent with every call.")
@click.option(
    "--tls-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM of who signed the server's certificate.  [default: the system's, for grpcs://]",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_SECONDS,
    show_default=True,
    metavar="S",
    help="Seconds that a check may take.",
)
@click.option(
    "--pid",
    type=int,
    default=None,
    metavar="N",
    callback=_existing,
    help="Process of the server on this machine: its memory is looked at.",
)
@click.option("--strict", is_flag=True, help="Let broken SHOULD and ROBUSTNESS rules count.")
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_placed,
    help="Write XML.",
)
@json_option
def command(
    server: str | None,
    *,
    instance: str,
    sections: tuple[str, ...],
    ids: tuple[str, ...],
    listing: bool,
    platform: tuple[tuple[str, str], ...],
    header: tuple[tuple[str, str], ...],
    tls_ca: Path | None,
    seconds: float,
    pid: int | None,
    strict: bool,
    junit: Path | None,
    as_json: bool,
) -> None:
    """Hold any server of the Remote Execution API to its specification.

    Uploads small blobs and runs small actions there. What the server does not offer, and does not
    claim to, is skipped.

    Exit status: 0 every MUST that applies was kept, 1 one was broken, 2 wrong usage, or the server
    cannot be reached.
    """
    try:
        checks = chosen(sections, ids)
    except Unknown as error:
        raise click.UsageError(str(error)) from None
    if listing:
        _list(checks)
        return
    if server is None:
        raise click.UsageError("which server? holdfast conformance grpc://HOST:PORT")
    address = Address(
        server,
        instance,
        tls_ca.read_bytes() if tls_ca else b"",
        header,
        dict(platform),
        pid,
    )
    try:
        outcomes = asyncio.run(_run(address, checks, seconds))
    except Unusable as error:
        raise fail(str(error), USAGE) from None
    if junit is not None:
        junit.write_text(as_junit(server, outcomes))
    if as_json:
        print_json(report_json(server, outcomes))
    else:
        _print(server, outcomes)
    if not conforms(outcomes, strict=strict):
        raise click.exceptions.Exit(FAILED)


async def _run(address: Address, checks: Sequence[Check], seconds: float) -> list[Outcome]:
    console = Console(stderr=True)
    showing = console.status("connecting") if console.is_terminal else nullcontext()
    outcomes: list[Outcome] = []
    with showing as status:
        async with connected(address) as target:
            async for outcome in run(checks, target, seconds=seconds):
                outcomes.append(outcome)
                if status is not None and len(outcomes) < len(checks):
                    running = checks[len(outcomes)].id
                    status.update(f"{len(outcomes)} of {len(checks)} done, running {running}")
    return outcomes


def _list(checks: Sequence[Check]) -> None:
    for check in checks:
        click.echo(f"{check.id}  {check.level}\n    {check.rule}  ({check.source})")
    click.echo(f"{len(checks)} of {len(CHECKS)} checks")


def _print(server: str, outcomes: Sequence[Outcome]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for outcome in outcomes:
        if outcome.ending in {Ending.FAILED, Ending.ERROR}:
            _print_failure(console, outcome)
    for outcome in outcomes:
        if outcome.ending is Ending.SKIPPED:
            console.print(f"[yellow]skipped[/] {outcome.check.id}: {escape(outcome.reason)}")
    console.print(_counted(server, outcomes))
    console.print(_verdict(outcomes))


def _print_failure(console: Console, outcome: Outcome) -> None:
    check, colour = outcome.check, _COLOURS[outcome.ending]
    console.print(f"[{colour}]{outcome.ending} {check.level}[/] [bold]{check.id}[/]")
    console.print(f"  {escape(check.rule)}  ({escape(check.source)})")
    console.print(f"  [{colour}]{escape(outcome.reason)}[/]")
    for line in outcome.exchanges:
        console.print(f"    {escape(line)}", style="dim")
    console.print()


def _counted(server: str, outcomes: Sequence[Outcome]) -> Table:
    table = Table("section", *Level, title=f"{server}: passed, failed, skipped")
    by_section = counts(outcomes)
    for section, section_counts in by_section.items():
        cells = (
            " ".join(
                f"[{_COLOURS[ending] if section_counts[level, ending] else 'dim'}]"
                f"{section_counts[level, ending]}[/]"
                for ending in Ending
                if ending is not Ending.ERROR or section_counts[level, ending]
            )
            for level in Level
        )
        table.add_row(section, *cells)
    return table


def _verdict(outcomes: Sequence[Outcome]) -> str:
    broken = {
        level: sum(
            outcome.check.level is level and outcome.ending in {Ending.FAILED, Ending.ERROR}
            for outcome in outcomes
        )
        for level in Level
    }
    if not any(broken.values()):
        return "Every rule that applies is kept."
    told = ", ".join(f"{count} {level}" for level, count in broken.items() if count)
    must = "" if broken[Level.MUST] else "; every MUST that applies is kept"
    return f"Broken: {told}{must}."
