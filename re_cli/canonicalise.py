"""`holdfast canonicalise`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from determinism.canonical import (
    WINDOW_SECONDS,
    Circumstances,
    Examined,
    Extent,
    Output,
    Selection,
    canonicalise,
    examine,
)
from determinism.registry import FORMATS
from re_cli.failure import FAILED
from re_cli.output import json_option, note, print_json
from re_cli.times import Time

# A zip file has local times: they may seem to lie ahead by as much as a time zone can.
ZONE_SECONDS = 14 * 3600
EARLIEST = 1.0 + WINDOW_SECONDS  # 0 says in many formats that there is no time


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--write", is_flag=True, help="Rewrite the files.")
@click.option("--check", is_flag=True, help="Exit with 1 if a file is not in canonical form.")
@click.option(
    "--window",
    type=(Time(), Time()),
    metavar="BEGIN END",
    help="Only touch times between these, as of an action: 90m, 2h or 3d ago, or ISO 8601. "
    "Without it, any time up to now.",
)
@click.option("--all", "every", is_flag=True, help="Apply every format, not just the harmless.")
@click.option(
    "--format",
    "names",
    multiple=True,
    type=click.Choice([each.name for each in FORMATS]),
    help="Apply this format beside the harmless; may be repeated.",
)
@click.option("-v", "--verbose", is_flag=True, help="Name the files that are left, and say why.")
@json_option
def command(
    files: Sequence[Path],
    *,
    write: bool,
    check: bool,
    window: tuple[float, float] | None,
    every: bool,
    names: Sequence[str],
    verbose: bool,
    as_json: bool,
) -> None:
    """Show what a worker would rewrite in FILE..., if they were one action's outputs.

    Nothing is changed without --write.

    Exit status: 0 done, 1 failed, or with --check: a file is not in canonical form, 2 wrong usage.
    """
    if write and check:
        raise click.UsageError("--check changes nothing: leave out --write")
    outputs = [Output(file, str(file)) for file in files]
    extent = Extent.EVERYTHING if every else Extent.LEARNED
    selection = Selection(how=extent, formats=frozenset(names))
    begun, ended = window or (EARLIEST, time.time() + ZONE_SECONDS)
    circumstances = Circumstances(
        begun=begun,
        ended=ended,
        root="/",
        seen_root="",
        inputs=(),
        input_text=lambda text: False,
    )
    examined = examine(outputs, selection, circumstances)
    written = canonicalise(outputs, selection, circumstances) if write else []
    changed = {each.name for each in written}
    if as_json:
        print_json([_as_dict(each, rewritten=each.output.name in changed) for each in examined])
    else:
        for each in examined:
            _print(each, "rewritten" if write else "would change", verbose=verbose)
    left = [each for each in examined if each.formats and each.output.name not in changed]
    if write and left:
        note(f"{len(left)} could not be written to: {left[0].output.name}")
    if left and (write or check):
        raise click.exceptions.Exit(FAILED)


def _print(examined: Examined, what: str, *, verbose: bool) -> None:
    if examined.formats:
        formats = ", ".join(examined.formats)
        size = f"{_counted(examined.ranges, 'range')}, {_counted(examined.bytes, 'byte')}"
        click.echo(f"{examined.output.name}: {what}: {formats} ({size})")
    elif verbose and not examined.declined:
        click.echo(f"{examined.output.name}: nothing to do")
    if verbose:
        for name, why in examined.declined:
            click.echo(f"{examined.output.name}: left: {name + ': ' if name else ''}{why}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _as_dict(examined: Examined, *, rewritten: bool) -> dict[str, object]:
    return {
        "file": examined.output.name,
        "formats": list(examined.formats),
        "ranges": examined.ranges,
        "bytes": examined.bytes,
        "declined": [{"format": name, "why": why} for name, why in examined.declined],
        "rewritten": rewritten,
    }
