"""What commands print: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@dataclass(frozen=True, slots=True)
class Meter:
    """Where to say how many bytes there are in all, and each time that some are done."""

    on_total: Callable[[int], object]
    on_bytes: Callable[[int], object]


@contextmanager
def metered(what: str) -> Iterator[Meter]:
    """Show a bar of bytes while the block runs, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield Meter(lambda total: None, lambda done: None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def set_total(total: int) -> None:
            bar.update(task, total=total)

        yield Meter(set_total, partial(bar.advance, task))


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def as_dict(message: Message) -> dict[str, object]:
    """Return a message by the names of its .proto file. Bytes are base64, int64 are strings."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def note(text: str) -> None:
    """Say something that is no result."""
    click.echo(f"holdfast: {text}", err=True)


def bytes_text(count: float) -> str:
    """Write a number of bytes for people: `1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":  # noqa: PLR2004  of one unit in the next
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
