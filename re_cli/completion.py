"""`holdfast completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete `holdfast` command lines.

    For bash: `holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast`;
    for zsh: `source <(holdfast completion zsh)` in ~/.zshrc; for fish:
    `holdfast completion fish > ~/.config/fish/completions/holdfast.fish`.

    Exit status: 0 done, 2 wrong usage.
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "holdfast", "_HOLDFAST_COMPLETE").source())
