"""All that is known of an action whose results differ, as people read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from protos import admin_pb2 as admin
from re_cli.differences import SHORT_DIGITS, counted, differences, seconds_text, visible

SHOWN = 20  # observations, and consumers; --json has all
NARROW = 100  # columns; below, what matters less is left out


def explained(found: admin.Explanation, width: int) -> Iterator[RenderableType]:
    """Yield what there is to say of one action, part by part. width: columns that there are."""
    yield _summary(found)
    for title, latent in (("In service", False), ("Found by audits", True)):
        these = [each for each in found.differences if each.latent is latent]
        if these:
            yield Text(f"\n{title}", style="bold underline")
            yield from differences(these, width)
    yield from _listed(
        "Results, the latest first",
        _observations(found.observations, width),
        len(found.observations),
    )
    yield from _listed(
        "Later actions that depend on it", _consumers(found.consumers, width), len(found.consumers)
    )


def _summary(found: admin.Explanation) -> Table:
    about = found.summary
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("action", f"{about.action_digest.hash}/{about.action_digest.size_bytes}")
    for name, value in (
        ("program", about.program),
        ("target", about.target),
        ("mnemonic", about.mnemonic),
    ):
        if value:
            table.add_row(name, Text(visible(value)))
    table.add_row("differs", _seen(found))
    if about.causes:
        table.add_row("causes", Text(visible(", ".join(about.causes))))
    saved = f"{counted(about.saved_actions, 'later action')}, {seconds_text(about.saved_seconds)}"
    table.add_row("saved", saved)
    table.add_row("pin", Text(visible(_pin(found))))
    return table


def _seen(found: admin.Explanation) -> str:
    about = found.summary
    if not about.conflicts and not about.latent:
        return f"never, in {counted(len(found.observations), 'result')}"
    only = "; in stdout or stderr alone" if about.streams_only else ""
    return f"{counted(about.conflicts, 'conflict')} in service, {about.latent:,} in audits{only}"


def _pin(found: admin.Explanation) -> str:
    if not found.HasField("pin"):
        return "none"
    pin = found.pin
    by = pin.worker or "a client that uploaded it"
    said = f"revision {pin.revision} since {_moment(pin.pinned)}, by {by}; "
    return said + f"{pin.agreements:,} later results were the same, {pin.conflicts:,} differed"


def _listed(title: str, table: Table, count: int) -> Iterator[RenderableType]:
    if count:
        yield Text(f"\n{title}", style="bold underline")
        yield Padding(table, (0, 0, 0, 2))
    if count > SHOWN:
        yield Text(f"  ... and {count - SHOWN:,} more: --json has all")


def _observations(observed: Iterable[admin.Observed], width: int) -> Table:
    wide = width >= NARROW
    table = _plain(
        "when", "from", "verdict", "took", "worker", *(("toolchain", "invocation") if wide else ())
    )
    for each in list(observed)[:SHOWN]:
        more = (each.toolchain[:SHORT_DIGITS], each.invocation) if wide else ()
        table.add_row(
            *_texts(
                _moment(each.at),
                each.source,
                each.verdict,
                _took(each.duration),
                each.worker,
                *more,
            )
        )
    return table


def _consumers(consumers: Iterable[admin.Consumer], width: int) -> Table:
    table = _plain("action", "steps away", "took", "saved", "mnemonic", "target")
    for each in list(consumers)[:SHOWN]:
        saved = f"{each.saved:,} times" if each.saved > 1 else "once" if each.saved else "-"
        table.add_row(
            *_texts(
                each.action_digest.hash[:SHORT_DIGITS],
                f"{each.distance:,}",
                _took(each.duration),
                saved,
                each.mnemonic,
                each.target,
            )
        )
    return table


def _plain(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _texts(*values: str) -> Iterator[Text]:
    return (Text(visible(value or "-")) for value in values)


def _took(duration: Duration) -> str:
    nanoseconds = duration.ToNanoseconds()
    return seconds_text(nanoseconds / 1e9) if nanoseconds else ""


def _moment(timestamp: Timestamp) -> str:
    """Write a time in the reader's own zone."""
    moment = datetime.fromtimestamp(timestamp.ToNanoseconds() // 10**9).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S")
