"""`holdfast nondeterminism`."""

from __future__ import annotations

import asyncio
import re

import click
from click.core import ParameterSource

from cas.digest import Digest
from protos import admin_pb2 as admin
from re_cli.differences import show as print_parts, stdout
from re_cli.explanation import explained
from re_cli.output import as_dict, json_option, print_json
from re_cli.remote import Remote, with_remote
from re_cli.times import Time
from re_cli.worst import worst
from re_client.nondeterminism import LEAST_DIGITS, Nondeterminism

GROUPINGS = {
    name.lower(): number for name, number in admin.ListNondeterminismRequest.Grouping.items()
}
_DIGITS = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},}}")


async def action_named(remote: Remote, record: Nondeterminism, text: str) -> Digest:
    """Read HASH/SIZE, or find the action that differs and whose hash begins with `text`.

    Raises InvalidDigest, and NotServed if there is no one such action.
    """
    if not _DIGITS.fullmatch(text):
        return remote.digest(text)
    hash, size = await record.named(text)
    return Digest.parse(hash, size, remote.function)


@click.group(invoke_without_command=True)
@click.option(
    "--by",
    type=click.Choice(list(GROUPINGS)),
    default="action",
    show_default=True,
    help="What to put together.",
)
@click.option(
    "--since",
    type=Time(),
    default=None,
    help="Only what was seen since then: 2h, 7d (ago), or a date and time.  [default: all]",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    metavar="N",
    help="Lines at most.",
)
@json_option
@with_remote
def command(remote: Remote, *, by: str, since: float | None, limit: int, as_json: bool) -> None:
    """Say whose results differ from run to run, and what pinning them saved.

    The worst come first: those whose pin saved most time. Conflicts are results that differed in
    service, latent ones were found by audits alone. `show ACTION` explains one of them.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    listed = asyncio.run(_worst(remote, by, since or 0, limit))
    if as_json:
        print_json(as_dict(listed))
        return
    worst(listed, by, stdout())


def _refuse_options(context: click.Context) -> None:
    """Fail if options stand before the name of a command below, which would not hear of them."""
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            below = context.invoked_subcommand
            said = f"{parameter.opts[0]} is the list's here; put what {below} takes behind it"
            raise click.UsageError(said, context)


async def _worst(
    remote: Remote, by: str, since: float, limit: int
) -> admin.ListNondeterminismResponse:
    async with remote.open() as session:
        record = Nondeterminism(session.connection, remote.instance)
        return await record.worst(GROUPINGS[by], since=since, limit=limit)


@command.command()
@click.argument("action")
@json_option
@with_remote
def show(remote: Remote, *, action: str, as_json: bool) -> None:
    """Explain why results of ACTION differ.

    ACTION is a digest, HASH/SIZE, or the first digits of the hash of an action that `holdfast
    nondeterminism` lists. Both sides of each difference are told, its cause and what speaks for
    it, every run and upload that is on record, and the later actions that pinning saved.

    Exit status: 0 done, 1 failed or nothing is known of the action, 2 wrong usage, 3 the server
    cannot be reached.
    """
    found = asyncio.run(_explain(remote, action))
    if as_json:
        print_json(as_dict(found))
        return
    console = stdout()
    print_parts(console, *explained(found, console.width))


async def _explain(remote: Remote, text: str) -> admin.Explanation:
    async with remote.open() as session:
        record = Nondeterminism(session.connection, remote.instance)
        return await record.explain(await action_named(remote, record, text))
