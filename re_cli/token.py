"""`holdfast token`."""

from __future__ import annotations

import click

from access.tokens import InvalidTokenFile, new_token, token_line
from re_cli.output import json_option, print_json


@click.group()
def command() -> None:
    """Make tokens, which callers prove themselves by."""


@command.command()
@click.argument("name")
@json_option
def new(name: str, *, as_json: bool) -> None:
    """Print a fresh token for NAME, and the line of it for the server's file of tokens.

    The token is printed here and nowhere else: the line has its hash alone. Append the line to the
    file that `access.tokens` of the server's configuration names; a running server reads it within
    a second. Grants name the holder as `token:NAME`. To withdraw a token, take its line out.

    Exit status: 0 done, 2 a token cannot have that name.
    """
    token = new_token()
    try:
        line = token_line(name, token)
    except InvalidTokenFile as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        print_json({"token": token, "line": line})
        return
    click.echo(token)
    click.echo("Line for the server's file of tokens:", err=True)
    click.echo(line, err=True)
