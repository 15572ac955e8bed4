"""The options that say which pins are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict, TypeVar

import click

from cas.wire import digest_to
from protos import admin_pb2 as admin
from re_cli.remote import Remote
from re_cli.times import Time

Command = TypeVar("Command", bound=Callable[..., None])

all_instances_option = click.option(
    "--all-instances",
    is_flag=True,
    help="Of every instance of the server, not of --instance alone.",
)


class Wanted(TypedDict):
    """What the options of `filter_options` say. since, until: seconds since 1970."""

    actions: tuple[str, ...]
    target: str
    program: str
    mnemonic: str
    worker: str
    toolchain: str
    invocation: str
    since: float | None
    until: float | None
    conflicting: bool
    all_instances: bool


def filter_options(command: Command) -> Command:
    """Add the options; the command gets them as keywords, which are a Wanted."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def narrow(wanted: Wanted) -> bool:
    """Tell whether more is said than an instance."""
    return any(value not in (None, "", (), False) for name, value in wanted.items()
               if name != "all_instances")  # fmt: skip


def filter_of(remote: Remote, wanted: Wanted) -> admin.PinFilter:
    """Return what the server is to be told; raise InvalidDigest."""
    made = admin.PinFilter(
        action_digests=[digest_to(remote.digest(action)) for action in wanted["actions"]],
        target=wanted["target"],
        program=wanted["program"],
        mnemonic=wanted["mnemonic"],
        worker=wanted["worker"],
        toolchain=wanted["toolchain"],
        invocation=wanted["invocation"],
        conflicting=wanted["conflicting"],
    )
    if not wanted["all_instances"]:
        made.instance_name = remote.instance
    if wanted["since"] is not None:
        made.since.FromMicroseconds(round(wanted["since"] * 1e6))
    if wanted["until"] is not None:
        made.until.FromMicroseconds(round(wanted["until"] * 1e6))
    return made


def _glob_option(*names: str, what: str) -> Callable[[Command], Command]:
    return click.option(*names, default="", metavar="GLOB", help=f"Only those {what}.")


_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option(
        "--action",
        "actions",
        multiple=True,
        metavar="HASH/SIZE",
        help="Only that of this action; may be given more than once.",
    ),
    _glob_option("--target", what="whose target matches, such as '//lib/*'"),
    _glob_option("--program", "--tool", "program", what="whose program's name matches: 'clang*'"),
    _glob_option("--mnemonic", what="whose mnemonic matches, as Bazel sends it"),
    _glob_option("--worker", what="whose result was made by a worker with such a name"),
    _glob_option("--toolchain", what="whose tools had such a digest"),
    _glob_option("--invocation", what="that a build with such an id has made"),
    click.option("--since", type=Time(), help="Only those pinned at this time or later: 2h, 3d."),
    click.option("--until", type=Time(), help="Only those pinned before this time."),
    click.option(
        "--conflicting", is_flag=True, help="Only those that a later result differed from."
    ),
    all_instances_option,
)
