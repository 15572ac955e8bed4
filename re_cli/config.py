"""`holdfast config`."""

from __future__ import annotations

from pathlib import Path

import click

from re_config.load import load
from re_config.toml import to_toml

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="HOLDFAST_CONFIG",
    show_envvar=True,
    metavar="FILE",
    help="Configuration, TOML.  [default: none, which is complete]",
)


@click.group()
def command() -> None:
    """Look at a configuration without starting anything."""


@command.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def check(file: Path) -> None:
    """Say whether `holdfast serve --config FILE` would take FILE.

    Exit status: 0 it would, 2 it would not: stderr has the field's path and what is allowed.
    """
    load(file)
    click.echo(f"{file}: ok")


@command.command()
@config_option
def show(config_file: Path | None) -> None:
    """Print the configuration that is in effect, defaults included, as TOML.

    Exit status: 0 done, 2 the configuration cannot be used.
    """
    click.echo(to_toml(load(config_file)), nl=False)
