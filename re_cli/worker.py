"""`holdfast worker`."""

from __future__ import annotations

from pathlib import Path

import click

from re_cli.config import config_option
from re_cli.failure import reported
from re_cli.process import log_level_option, log_to_stderr, run
from re_cli.remote import Remote, with_remote
from re_config.load import load


@click.command()
@config_option
@log_level_option
@with_remote
def command(remote: Remote, *, config_file: Path | None, log_level: str) -> None:
    """Run actions for a server, until SIGTERM or SIGINT.

    Of the configuration, the tables `worker` and `limits` count. While the server cannot be
    reached, the worker goes on trying. A first signal lets what runs come to its end, a second one
    ends at once; the server then gives the work to another worker.

    Exit status: 0 stopped as told, 1 failed, 2 wrong usage or configuration.
    """
    config = load(config_file)
    log_to_stderr(log_level)
    from re_cli.working import UNUSABLE, work_until_stopped  # noqa: PLC0415  others start faster

    with reported(*UNUSABLE):
        run(work_until_stopped(remote.server, remote.instance, config))
