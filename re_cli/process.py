"""What the two commands that run until they are told to stop have in common."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine

import click
import uvloop

LEVELS = ("debug", "info", "warning", "error")

log_level_option = click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    envvar="HOLDFAST_LOG_LEVEL",
    show_default=True,
    show_envvar=True,
    help="Least of what is logged, on stderr.",
)


def log_to_stderr(level: str) -> None:
    """Write log lines as `time LEVEL logger: message`, to stderr."""
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def run(main: Coroutine[object, object, None]) -> None:
    """Run `main` on the faster event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
