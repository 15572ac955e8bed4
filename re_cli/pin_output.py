"""Pins, as people and programs read them."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from cas.wire import FROM_WIRE
from determinism.outcome import outcome_of
from protos import admin_pb2 as admin
from re_cli.differences import visible
from re_cli.output import as_dict, print_json

WIDE = 1000  # columns: an action's digest is to stand on one line, however narrow the terminal


def print_pin(pin: admin.Pin, *, as_json: bool) -> None:
    if as_json:
        print_json(pin_json(pin))
    else:
        Console(soft_wrap=True, highlight=False).print(_tree(pin))


def pin_json(pin: admin.Pin) -> dict[str, object]:
    digest = f"{pin.action_digest.hash}/{pin.action_digest.size_bytes}"
    return {"action": digest, **as_dict(pin)}


def pin_table(pins: list[admin.Pin], *, instances: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    if instances:
        table.add_column("instance")
    for heading in ("action", "revision", "conflicts", "program", "target", "worker", "pinned"):
        table.add_column(
            heading, justify="right" if heading in {"revision", "conflicts"} else "left"
        )
    for pin in pins:
        row = (
            f"{pin.action_digest.hash}/{pin.action_digest.size_bytes}",
            str(pin.revision),
            str(pin.conflicts),
            pin.origin.program,
            pin.origin.target,
            pin.worker,
            moment(pin.pinned),
        )
        table.add_row(*map(said, (pin.instance_name, *row) if instances else row))
    return table


def _tree(pin: admin.Pin) -> Tree:
    tree = Tree(f"[bold]pin[/] of {pin.action_digest.hash}/{pin.action_digest.size_bytes}")
    for name, value in (
        ("instance", pin.instance_name),
        ("pinned", moment(pin.pinned)),
        ("last seen", moment(pin.last_seen)),
        ("revision", str(pin.revision)),
        ("later results that were the same", str(pin.agreements)),
        ("later results that differed", str(pin.conflicts)),
        ("revisions because blobs were gone", str(pin.losses)),
        ("worker", pin.worker),
        *((field.name, getattr(pin.origin, field.name)) for field in pin.origin.DESCRIPTOR.fields),
    ):
        if value:
            tree.add(f"{name}: {said(value)}")
    outcome = outcome_of(pin.result, FROM_WIRE[pin.digest_function])
    branch = tree.add("[bold]result[/]")
    for where, there in (outcome.outputs | outcome.streams).items():
        if there:
            branch.add(said(f"{where}: {there}"))
    return tree


def said(text: str) -> str:
    """Return what came from elsewhere such that it is text, not markup nor a terminal's command."""
    return escape(visible(text))


def moment(timestamp: Timestamp) -> str:
    return (
        datetime.fromtimestamp(timestamp.seconds, UTC).isoformat(" ").removesuffix("+00:00") + "Z"
    )
