"""`holdfast pins proposals`, `confirm` and `discard`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import click
from rich.console import Console
from rich.table import Table

from cas.wire import digest_to
from protos import admin_pb2 as admin
from re_cli.output import as_dict, json_option, print_json
from re_cli.pin_options import all_instances_option
from re_cli.pin_output import WIDE, moment, print_pin, said
from re_cli.remote import Remote, with_remote


@click.command()
@click.option("--writer", default="", metavar="GLOB", help="Only those of such a caller.")
@click.option(
    "--action", "actions", multiple=True, metavar="HASH/SIZE", help="Only those for this action."
)
@click.option(
    "--conflicting", is_flag=True, help="Only those beside which another caller proposes otherwise."
)
@all_instances_option
@json_option
@with_remote
def proposals(
    remote: Remote,
    *,
    writer: str,
    actions: tuple[str, ...],
    conflicting: bool,
    all_instances: bool,
    as_json: bool,
) -> None:
    """List results that their writers alone are answered with, the latest first.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    filter = _filter(remote, writer, actions, all_instances=all_instances)
    filter.conflicting = conflicting
    found = asyncio.run(_proposals(remote, filter))
    if as_json:
        print_json([{"action": _action(one), **as_dict(one)} for one in found])
    else:
        table = _table(found, instances=all_instances)
        Console(width=WIDE, highlight=False).print(table)


@click.command()
@click.argument("action", metavar="ACTION")
@click.option("--writer", required=True, metavar="NAME", help="Whose proposal.")
@json_option
@with_remote
def confirm(remote: Remote, action: str, *, writer: str, as_json: bool) -> None:
    """Make what a caller proposes for ACTION, written HASH/SIZE, its pin.

    Exit status: 0 done, 1 failed or there is none, 2 wrong usage, 3 the server cannot be reached.
    """
    digest = remote.digest(action)

    async def confirmed() -> admin.Pin:
        async with remote.open() as session:
            return await session.admin.confirm_proposal(remote.instance, digest, writer)

    print_pin(asyncio.run(confirmed()), as_json=as_json)


@click.command()
@click.option("--writer", default="", metavar="GLOB", help="Those of such a caller.")
@click.option(
    "--action", "actions", multiple=True, metavar="HASH/SIZE", help="Those for this action."
)
@all_instances_option
@json_option
@with_remote
def discard(
    remote: Remote, *, writer: str, actions: tuple[str, ...], all_instances: bool, as_json: bool
) -> None:
    """Forget results that their writers alone are answered with.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    if not writer and not actions:
        raise click.UsageError("say whose by --writer, or for which actions by --action")
    filter = _filter(remote, writer, actions, all_instances=all_instances)

    async def discarded() -> int:
        async with remote.open() as session:
            return await session.admin.drop_proposals(filter)

    count = asyncio.run(discarded())
    if as_json:
        print_json({"discarded": count})
    else:
        click.echo(f"discarded {count} proposal{'' if count == 1 else 's'}")


async def _proposals(remote: Remote, filter: admin.ProposalFilter) -> list[admin.Proposal]:
    """Return what is proposed, which the server bounds, the latest first."""
    async with (
        remote.open() as session,
        aclosing(session.admin.proposals(filter, brief=True)) as found,
    ):
        listed = [one async for one in found]
    return sorted(listed, key=lambda one: one.proposed.ToMicroseconds(), reverse=True)


def _filter(
    remote: Remote, writer: str, actions: tuple[str, ...], *, all_instances: bool
) -> admin.ProposalFilter:
    digests = [digest_to(remote.digest(action)) for action in actions]
    filter = admin.ProposalFilter(writer=writer, action_digests=digests)
    if not all_instances:
        filter.instance_name = remote.instance
    return filter


def _table(found: list[admin.Proposal], *, instances: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("action", "writer", "status", "program", "target", "proposed"):
        table.add_column(heading)
    if instances:
        table.add_column("instance")
    for one in found:
        row = [
            _action(one),
            one.writer,
            _status(one),
            one.origin.program,
            one.origin.target,
            moment(one.proposed),
        ]
        table.add_row(*map(said, [*row, one.instance_name] if instances else row))
    return table


def _status(one: admin.Proposal) -> str:
    if not one.comparable:
        return "its writer's own"
    return "conflicting" if one.conflicting else "waiting"


def _action(one: admin.Proposal) -> str:
    return f"{one.action_digest.hash}/{one.action_digest.size_bytes}"
