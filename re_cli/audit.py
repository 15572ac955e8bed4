"""`holdfast audit`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from protos import admin_pb2 as admin
from re_cli.differences import counted, differences, show, stdout, visible
from re_cli.failure import FAILED
from re_cli.nondeterminism import action_named
from re_cli.output import as_dict, json_option, note, print_json
from re_cli.remote import Remote, with_remote
from re_client.nondeterminism import Nondeterminism

DIFFERENT = 4


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to audit, and how often: 0 for the server's setting. Of three, the others are ""."""

    action: str
    invocation: str
    target: str
    runs: int


@click.command()
@click.argument("action", default="", metavar="[ACTION]")
@click.option("--invocation", default="", metavar="ID", help="Audit every action of one build.")
@click.option(
    "--target",
    default="",
    metavar="GLOB",
    help="Audit every action whose target matches, such as '//lib/*'.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Runs for each factor; fewer blame wrong ones.  [default: the server's determinism.audit]",
)
@json_option
@with_remote
def command(
    remote: Remote, *, action: str, invocation: str, target: str, runs: int | None, as_json: bool
) -> None:
    """Run actions again under other conditions, and say what their results depend on.

    ACTION is a digest, HASH/SIZE, or the first digits of the hash of an action that `holdfast
    nondeterminism` lists. Each is run once with everything varied that a result could depend on:
    path, time, process numbers, order of directories, host. Where the result differs, it is run
    with one factor varied at a time, to tell which. What is found is kept in the server's record.

    Exit status: 0 every result was the same, 1 failed or an action could not be audited, 2 wrong
    usage, 3 the server cannot be reached, 4 results differ.
    """
    if sum(map(bool, (action, invocation, target))) != 1:
        raise click.UsageError("give one of ACTION, --invocation and --target")
    wanted = _Wanted(action, invocation, target, runs or 0)
    found = asyncio.run(_audit(remote, wanted, as_json=as_json))
    if as_json:
        print_json({"audited": [as_dict(each) for each in found]})
    note(_summary(found))
    raise click.exceptions.Exit(_status(found))


async def _audit(remote: Remote, wanted: _Wanted, *, as_json: bool) -> list[admin.Audited]:
    """Audit, and print what is found when it is; return all of it."""
    found: list[admin.Audited] = []
    async with remote.open() as session:
        record = Nondeterminism(session.connection, remote.instance)
        action = await action_named(remote, record, wanted.action) if wanted.action else None
        stream = record.audit(
            action=action,
            invocation=wanted.invocation,
            target=wanted.target,
            runs=wanted.runs,
        )
        with _bar() as told:
            async for progress in stream:
                told(progress)
                if progress.HasField("audited"):
                    found.append(progress.audited)
                    if not as_json:
                        _print(progress.audited)
    return found


@contextmanager
def _bar() -> Iterator[Callable[[admin.AuditProgress], object]]:
    """Show how far the audit is, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    both = sys.stdout.isatty()  # results then go above the bar, and else to where stdout goes
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=both
    ) as bar:
        task = bar.add_task("looking for actions", total=None)

        def told(progress: admin.AuditProgress) -> None:
            arm = escape(progress.arm) or "waiting"
            said = f"{counted(progress.runs, 'run')}, now: {arm}"
            bar.update(task, description=said, total=progress.actions, completed=progress.done)

        yield told


def _print(audited: admin.Audited) -> None:
    console = stdout()
    name = f"{audited.action_digest.hash}/{audited.action_digest.size_bytes}"
    runs = counted(audited.runs, "run")
    if audited.error:
        click.echo(f"{name}  not audited: {visible(audited.error)}")
    elif not audited.differs:
        click.echo(f"{name}  the same in {runs}")
    else:
        click.echo(f"{name}  differs in {runs}")
        show(console, *differences(audited.differences, console.width))


def _summary(found: list[admin.Audited]) -> str:
    if not found:
        return "there was nothing to audit"
    different = sum(each.differs for each in found)
    failed = sum(bool(each.error) for each in found)
    same = len(found) - different - failed
    said = f"{counted(len(found), 'action')} audited: {same:,} the same, {different:,} different"
    return f"{said}, {failed:,} could not be audited" if failed else said


def _status(found: list[admin.Audited]) -> int:
    if any(each.differs for each in found):
        return DIFFERENT
    return FAILED if not found or any(each.error for each in found) else 0
