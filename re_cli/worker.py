"""`holdfast worker`."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from re_cli.config import config_option
from re_cli.failure import FAILED, fail, reported
from re_cli.output import json_option, print_json
from re_cli.process import log_level_option, log_to_stderr, run
from re_cli.remote import Remote, with_remote
from re_config.hiding import with_own_files_hidden
from re_config.load import load
from re_config.schema import Config
from worker.explain import Explanation, explain


@click.command()
@click.option(
    "--explain",
    "only_explain",
    is_flag=True,
    help="Try out what this host can keep the same for actions, print it, and run nothing.",
)
@json_option
@config_option
@log_level_option
@with_remote
def command(
    remote: Remote, *, only_explain: bool, as_json: bool, config_file: Path | None, log_level: str
) -> None:
    """Run actions for a server, until SIGTERM or SIGINT.

    Of the configuration, the tables `worker` and `limits` count. While the server cannot be
    reached, the worker goes on trying. A first signal lets what runs come to its end, a second one
    ends at once; the server then gives the work to another worker.

    With --explain no server is needed: the switches of `worker.prevent` are printed, whether each
    is on, whether it works on this host, and what it prevents; then what nothing prevents. --json
    is for that alone.

    Exit status: 0 stopped as told, or explained; 1 failed, or no action could run here; 2 wrong
    usage or configuration.
    """
    if as_json and not only_explain:
        raise click.UsageError("--json goes with --explain")
    given = [*remote.credentials.secrets, *([config_file] if config_file else [])]
    config = with_own_files_hidden(load(config_file), given)
    log_to_stderr(log_level)
    if only_explain:
        _explain(config, as_json=as_json)
        return
    from re_cli.working import UNUSABLE, work_until_stopped  # noqa: PLC0415  others start faster

    with reported(*UNUSABLE):
        run(work_until_stopped(remote.server, remote.instance, remote.credentials, config))


def _explain(config: Config, *, as_json: bool) -> None:
    with reported():
        explanation = asyncio.run(explain(config.worker))
    if as_json:
        print_json(dataclasses.asdict(explanation))
    else:
        _print(explanation)
    if explanation.fault:
        raise fail(f"no action can run here: {explanation.fault}", FAILED)


def _print(explanation: Explanation) -> None:
    console = Console()
    if explanation.switches:
        console.print(f"sandbox: {explanation.sandbox}; actions run as user: {explanation.user}\n")
        console.print(_switches(explanation))
    for title, rows in (
        ("tools on this host", explanation.tools),
        ("what nothing here prevents", explanation.unpreventable),
    ):
        table = Table("", "", box=None, show_header=False, pad_edge=False)
        for name, text in rows.items():
            table.add_row(name, text)
        console.print(f"\n{title}")
        console.print(table)


def _switches(explanation: Explanation) -> Table:
    table = Table("switch", "set", "on this host", "prevents", box=None, pad_edge=False)
    for line in explanation.switches:
        here = "works" if line.possible else f"no: {line.why}"
        table.add_row(line.name, "on" if line.on else "off", here, line.prevents)
    return table
