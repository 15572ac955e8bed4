"""`holdfast pins`."""

from __future__ import annotations

import asyncio
import heapq
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, Unpack

import click
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from rich.console import Console

from cas.digest import Digest
from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from re_cli.failure import USAGE, fail
from re_cli.output import Meter, as_dict, json_option, metered, note, print_json
from re_cli.pin_options import Wanted, all_instances_option, filter_of, filter_options, narrow
from re_cli.pin_output import WIDE, pin_json, pin_table, print_pin
from re_cli.proposals import confirm, discard, proposals
from re_cli.remote import Remote, with_remote
from re_client.pin_file import InvalidPinFile, read_pins, write_end, write_header, write_pin

SHOWN_PINS = 1000  # in a table, the latest; --json has all


@click.group()
def command() -> None:
    """Look at, replace, drop and carry over the results that actions are held to."""


for _further in (proposals, confirm, discard):
    command.add_command(_further)


@command.command("list")
@json_option
@with_remote
@filter_options
def list_(remote: Remote, *, as_json: bool, **wanted: Unpack[Wanted]) -> None:
    """List pins, the latest first.

    A GLOB has * for anything, ? for one character and [...] for one of several, and is matched
    with the whole text. What is not known of a pin is empty, and is matched by * alone.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    filter = filter_of(remote, wanted)
    if as_json:
        asyncio.run(_print_all(remote, filter))
        return
    latest, count = asyncio.run(_latest(remote, filter))
    Console(width=WIDE, highlight=False).print(pin_table(latest, instances=wanted["all_instances"]))
    if count > len(latest):
        note(f"{count - len(latest)} more: --json has all")


@command.command()
@click.argument("action", metavar="ACTION")
@json_option
@with_remote
def show(remote: Remote, action: str, *, as_json: bool) -> None:
    """Show the pin of ACTION, written HASH/SIZE: its result, origin and history.

    Exit status: 0 done, 1 failed or there is no pin, 2 wrong usage, 3 the server cannot be reached.
    """
    print_pin(asyncio.run(_pin(remote, remote.digest(action))), as_json=as_json)


@command.command()
@click.argument("action", metavar="ACTION")
@click.option(
    "--result",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What becomes the pin: an ActionResult, serialised or as JSON, such as the `result` that "
    "`pins show --json` prints, or all of that. Its blobs must be on the server.",
)
@json_option
@with_remote
def replace(remote: Remote, action: str, file: Path | None, *, as_json: bool) -> None:
    """Make another result the pin of ACTION: that of a new run, or the one in FILE.

    Exit status: 0 done, 1 failed or there is no pin, 2 wrong usage, 3 the server cannot be reached.
    """
    result = _result_in(file) if file is not None else None
    print_pin(asyncio.run(_replace(remote, remote.digest(action), result)), as_json=as_json)


@command.command()
@click.option("--every", is_flag=True, help="Drop all pins: needed where nothing else is said.")
@click.option("--dry-run", is_flag=True, help="Say how many there are, and drop none.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@json_option
@with_remote
@filter_options
def drop(
    remote: Remote,
    *,
    every: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **wanted: Unpack[Wanted],
) -> None:
    """Forget pins and the cached results of their actions, so that these run again.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    if not every and not narrow(wanted):
        raise click.UsageError("say which pins by an option, or --every")
    filter = filter_of(remote, wanted)
    if not dry_run and not yes and sys.stdin.isatty():
        count = asyncio.run(_drop(remote, filter, every=every, dry_run=True))
        click.confirm(f"drop {_counted(count)} and the cached results?", abort=True, err=True)
    count = asyncio.run(_drop(remote, filter, every=every, dry_run=dry_run))
    if as_json:
        print_json({"dropped": 0 if dry_run else count, "found": count})
    else:
        click.echo(f"{'would drop' if dry_run else 'dropped'} {_counted(count)}")


@command.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE")
@with_remote
@filter_options
def export(remote: Remote, file: Path, **wanted: Unpack[Wanted]) -> None:
    """Write pins to FILE, or to stdout (-), for `holdfast pins import` on another server.

    Results are in it, the blobs that they refer to are not.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    with _written(file) as out:
        count = asyncio.run(_export(remote, filter_of(remote, wanted), out))
    note(f"exported {_counted(count)}")


@command.command("import")
@click.argument(
    "file", type=click.Path(exists=True, path_type=Path, allow_dash=True), metavar="FILE"
)
@all_instances_option
@json_option
@with_remote
def import_(remote: Remote, file: Path, *, all_instances: bool, as_json: bool) -> None:
    """Take over the pins in FILE, or from stdin (-), for --instance.

    With --all-instances each goes to the instance of the name that it comes from. An action that
    has a pin here keeps it. A pin whose blobs are not all here is not taken: upload them first.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    instance = None if all_instances else remote.instance
    try:
        with ExitStack() as stack:
            pins = sys.stdin.buffer if str(file) == "-" else stack.enter_context(file.open("rb"))
            meter = stack.enter_context(metered("importing"))
            if str(file) != "-":
                meter.on_total(file.stat().st_size)
            done = asyncio.run(_import(remote, pins, instance, meter))
    except InvalidPinFile as error:
        raise fail(f"{file}: {error}") from None
    if as_json:
        print_json(as_dict(done))
    else:
        click.echo(
            f"imported {_counted(done.imported)}; {done.kept} actions have one already; "
            f"{done.incomplete} lack blobs here"
        )


async def _latest(remote: Remote, filter: admin.PinFilter) -> tuple[list[admin.Pin], int]:
    """Return the latest pins, and how many there are in all."""
    heap: list[tuple[int, int, admin.Pin]] = []
    count = 0
    async with remote.open() as session, aclosing(session.admin.pins(filter, brief=True)) as pins:
        async for pin in pins:
            entry = (pin.pinned.ToMicroseconds(), count, pin)
            count += 1
            if len(heap) < SHOWN_PINS:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)
    return [pin for _, _, pin in sorted(heap, reverse=True)], count


async def _print_all(remote: Remote, filter: admin.PinFilter) -> None:
    """Print a JSON array as it comes: there can be more pins than fit into memory."""
    before = "[\n"
    async with remote.open() as session, aclosing(session.admin.pins(filter, brief=True)) as pins:
        async for pin in pins:
            click.echo(before + json.dumps(pin_json(pin), ensure_ascii=False), nl=False)
            before = ",\n"
    click.echo("[]" if before == "[\n" else "\n]")


async def _pin(remote: Remote, action: Digest) -> admin.Pin:
    async with remote.open() as session:
        return await session.admin.pin(remote.instance, action)


async def _replace(remote: Remote, action: Digest, result: reapi.ActionResult | None) -> admin.Pin:
    async with remote.open() as session:
        return await session.admin.replace_pin(remote.instance, action, result)


async def _drop(remote: Remote, filter: admin.PinFilter, *, every: bool, dry_run: bool) -> int:
    async with remote.open() as session:
        return await session.admin.drop_pins(filter, every=every, dry_run=dry_run)


async def _export(remote: Remote, filter: admin.PinFilter, out: BinaryIO) -> int:
    count = 0
    write_header(out)
    async with remote.open() as session, aclosing(session.admin.pins(filter)) as pins:
        async for pin in pins:
            write_pin(out, pin)
            count += 1
    write_end(out)
    return count


async def _import(
    remote: Remote, file: BinaryIO, instance: str | None, meter: Meter
) -> admin.ImportPinsResponse:
    async def pins() -> AsyncIterator[admin.Pin]:
        for pin, size in read_pins(file):
            if instance is not None:
                pin.instance_name = instance
            yield pin
            meter.on_bytes(size)

    async with remote.open() as session:
        return await session.admin.import_pins(pins())


@contextmanager
def _written(file: Path) -> Iterator[BinaryIO]:
    """Write to `file`, which is there with all that was written or as it was; `-` is stdout."""
    if str(file) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    new = file.with_name(f"{file.name}.new")
    try:
        with new.open("wb") as out:
            yield out
        new.rename(file)
    finally:
        new.unlink(missing_ok=True)


def _result_in(file: Path) -> reapi.ActionResult:
    """Read an ActionResult; end the command with wrong usage if there is none in `file`."""
    data = file.read_bytes()
    try:
        if not data.lstrip().startswith(b"{"):
            return reapi.ActionResult.FromString(data)
        said = json.loads(data)
        said = said.get("result", said)
        # What clients put there is printed in a form that cannot be read again; it means nothing.
        said.get("execution_metadata", {}).pop("auxiliary_metadata", None)
        return ParseDict(said, reapi.ActionResult())
    except (AttributeError, DecodeError, ParseError, ValueError) as error:
        raise fail(f"{file} is no ActionResult: {error}", USAGE) from None


def _counted(pins: int) -> str:
    return f"{pins} pin{'' if pins == 1 else 's'}"
