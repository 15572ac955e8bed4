"""The `holdfast` command."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version

import click

# A module each, imported when it is asked for: `holdfast --version` need not import gRPC.
COMMANDS = (
    "serve",
    "worker",
    "put",
    "get",
    "execute",
    "action",
    "pins",
    "nondeterminism",
    "audit",
    "status",
    "gc",
    "canonicalise",
    "conformance",
    "token",
    "config",
    "completion",
)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"re_cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        from re_cli.failure import reported  # noqa: PLC0415  knows the errors of all packages

        with reported():
            return super().invoke(ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("holdfast"), prog_name="holdfast", message="%(prog)s %(version)s")
def cli() -> None:
    """Remote execution where an identical action always gives identical bytes.

    Results go to stdout, everything else to stderr.

    Exit status: 0 done, 1 failed (stderr says why), 2 wrong usage or configuration, 3 the server
    cannot be reached. `holdfast execute` ends with the status of the command that it ran.
    """


def main() -> None:
    """Run the command line that the process was started with."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its notes on connections are not for people
    cli(prog_name="holdfast")
