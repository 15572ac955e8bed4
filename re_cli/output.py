"""What commands print: results on stdout, progress on stderr."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
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
    """Return a message by the names of its .proto file, unset fields without presence included.

    Bytes are base64. Unlike protobuf's own JSON, numbers are numbers, and an Any need not be of a
    type that is known here: clients put what they like into auxiliary_metadata.
    """
    said: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.has_presence and not message.HasField(field.name):
            continue
        names = field.enum_type.values_by_number.items() if field.enum_type else ()
        plain = partial(_plain, {number: each.name for number, each in names})
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            said[field.name] = {key: plain(value[key]) for key in value}
        elif field.is_repeated:
            said[field.name] = [plain(each) for each in value]
        else:
            said[field.name] = plain(value)
    return said


def _plain(names: Mapping[int, str], value: object) -> object:
    """Return one value. names: of the values that the field's enum has; empty if it is none."""
    if isinstance(value, Timestamp | Duration):
        return value.ToJsonString()
    if isinstance(value, Message):
        return as_dict(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, int) and value in names:
        return names[value]
    return value


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
