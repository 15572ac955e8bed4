"""`holdfast serve`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from re_cli.config import config_option
from re_cli.failure import reported
from re_cli.process import log_level_option, log_to_stderr, run
from re_config.hiding import with_own_files_hidden
from re_config.load import load
from re_config.schema import Config


@click.command()
@config_option
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Where to serve gRPC, in place of `server.listen`. Port 0: any that is free.",
)
@click.option("--web", metavar="HOST:PORT", help="Where to serve HTTP, in place of `server.web`.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='Print {"grpc": "HOST:PORT", "web": "HOST:PORT"} on stdout when ready.',
)
@log_level_option
def command(
    config_file: Path | None, listen: str | None, web: str | None, *, as_json: bool, log_level: str
) -> None:
    """Serve the Remote Execution API, with a worker inside.

    It goes on until SIGTERM or SIGINT: a first signal lets what is under way come to its end, a
    second one ends at once.

    Exit status: 0 stopped as told, 1 failed, 2 wrong usage or configuration.
    """
    given = {"listen": listen, "web": web}
    config = load(
        config_file, server={name: value for name, value in given.items() if value is not None}
    )
    log_to_stderr(log_level)
    _serve(with_own_files_hidden(config, [config_file] if config_file else []), as_json=as_json)


def _serve(config: Config, *, as_json: bool) -> None:
    """Serve until told to stop. The server is imported here: other commands start without it."""
    from cas.disk_open import StoreUnusable  # noqa: PLC0415
    from re_cli.working import UNUSABLE  # noqa: PLC0415
    from re_server.serve import Ready, serve  # noqa: PLC0415

    def on_ready(ready: Ready) -> None:
        if as_json:
            click.echo(json.dumps({"grpc": ready.grpc, "web": ready.web}))
            return
        s = "s" if config.server.tls.certificate else ""
        click.echo(
            f"Holdfast serves grpc{s}://{ready.grpc} and http{s}://{ready.web}/metrics\n"
            f"Bazel: bazel build --remote_executor=grpc{s}://{ready.grpc} //...\n"
            "Stop with Ctrl-C."
        )

    with reported(StoreUnusable, *UNUSABLE):
        run(serve(config, on_ready))
