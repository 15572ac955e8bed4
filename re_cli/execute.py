"""`holdfast execute`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from google.rpc.code_pb2 import Code
from rich.console import Console

from cas.digest import Digest
from cas.folder import Blobs, Folder, encode
from cas.store import BlobStore
from protos import remote_execution_pb2 as reapi
from re_cli.live import LiveOutput, content
from re_cli.output import as_dict, json_option, metered, note, print_json
from re_cli.remote import Remote, Session, with_remote
from re_client.command_line import CommandLine, InvalidPath, inside, plan_outputs, to_action
from re_client.download import carry_out
from re_client.folder import scan
from re_client.status import ServerFailed, from_status
from re_client.upload import upload


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is done with the result. downloads: the folder that outputs go to."""

    skip_cache_lookup: bool
    priority: int
    downloads: Path | None
    as_json: bool


def _pairs(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[tuple[str, str]]:
    pairs = [tuple(value.partition("=")) for value in values]
    for name, sign, _ in pairs:
        if not sign or not name:
            raise click.BadParameter(f"{name!r}: write NAME=VALUE")
    return [(name, value) for name, _, value in pairs]


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, required=True, type=str, metavar="COMMAND [ARGUMENT]...")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[AT=]PATH",
    help="File or folder for the input root, at its own relative path, or AT another. Repeatable.",
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="PATH",
    help="File or folder that the command makes, relative to --workdir. Repeatable.",
)
@click.option(
    "--env", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="Variable. Repeatable."
)
@click.option(
    "--platform",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="Property that the worker must have. Repeatable.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="Bound on the running time.")
@click.option(
    "--workdir", default="", metavar="DIR", help="Where to run, relative to the input root."
)
@click.option("--priority", default=0, metavar="N", help="Lower runs earlier.  [default: 0]")
@click.option("--no-cache", is_flag=True, help="Run even if the result is cached, and compare.")
@click.option("--do-not-cache", is_flag=True, help="Keep the result out of the cache.")
@click.option(
    "-d",
    "--download",
    "downloads",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder to download the outputs to.",
)
@json_option
@with_remote
def command(
    remote: Remote,
    *,
    arguments: tuple[str, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    env: list[tuple[str, str]],
    platform: list[tuple[str, str]],
    timeout: float | None,
    workdir: str,
    priority: int,
    downloads: Path | None,
    no_cache: bool,
    do_not_cache: bool,
    as_json: bool,
) -> None:
    """Run COMMAND on the server.

    It sees the inputs that are named, and what it makes of the outputs that are named is kept. Its
    stdout and stderr are shown as they come; with --json the result comes out instead, as JSON.
    Options behind COMMAND are its own.

    Exit status: that of COMMAND. If it could not be run: 1, and stderr says `holdfast:` and the
    reason; 2 wrong usage, 3 the server cannot be reached.
    """
    line = CommandLine(
        arguments=arguments,
        outputs=outputs,
        environment=env,
        platform=platform,
        working_directory=str(inside(workdir)) if workdir else "",
        timeout_seconds=timeout,
        do_not_cache=do_not_cache,
    )
    blobs: Blobs = {}
    root = encode(_input_root(remote, inputs, blobs), remote.function, blobs)
    wanted = _Wanted(no_cache, priority, downloads, as_json)
    exit_code = asyncio.run(_execute(remote, to_action(line, root, blobs), blobs, wanted))
    raise click.exceptions.Exit(exit_code)


def _input_root(remote: Remote, inputs: tuple[str, ...], blobs: Blobs) -> Folder:
    root = Folder()
    for text in inputs:
        named, sign, path = text.partition("=")
        if not sign or Path(text).exists():
            named, path = text, text
        try:
            at = inside(named)
        except InvalidPath as error:
            raise InvalidPath(f"--input {text}: {error}, or AT=PATH") from None
        root.put(at, scan(Path(path), remote.function, blobs))
    return root


async def _execute(remote: Remote, action: Digest, blobs: Blobs, wanted: _Wanted) -> int:
    async with remote.open() as session:
        if not session.capabilities.execution_capabilities.exec_enabled:
            raise ServerFailed(f"{remote.server} does not execute: it is a cache alone")
        with metered("uploading") as meter:
            await upload(session.store, blobs, on_total=meter.on_total, on_bytes=meter.on_bytes)
        with _stages() as stages:
            live = LiveOutput(session.connection, remote.function, begun=stages.stop)

            def on_stage(state: reapi.ExecuteOperationMetadata) -> None:
                stages.show(state)
                if not wanted.as_json:
                    live.on_stage(state)

            response = await session.actions.execute(
                action,
                skip_cache_lookup=wanted.skip_cache_lookup,
                priority=wanted.priority,
                on_stage=on_stage,
            )
            if not wanted.as_json:
                await live.complete(session.store, response.result)
        if wanted.as_json:
            texts = await _texts(session.store, response.result, remote)
            print_json({"action": str(action), **texts, **as_dict(response)})
        if response.status.code != Code.OK:
            raise from_status(response.status)
        note(_told(action, response))
        if wanted.downloads is not None:
            await _download(session, response.result, remote, wanted.downloads)
        return response.result.exit_code


async def _download(
    session: Session, result: reapi.ActionResult, remote: Remote, folder: Path
) -> None:
    with metered("downloading") as meter:
        plan = await plan_outputs(session.store, result, remote.function, folder)
        meter.on_total(plan.bytes)
        await carry_out(session.store, plan, on_bytes=meter.on_bytes)


async def _texts(store: BlobStore, result: reapi.ActionResult, remote: Remote) -> dict[str, str]:
    """Return what the command wrote, by `stdout` and `stderr`."""
    texts = {}
    for name, raw, named in (
        ("stdout", result.stdout_raw, result.stdout_digest),
        ("stderr", result.stderr_raw, result.stderr_digest),
    ):
        chunks = content(store, raw, named, remote.function)
        texts[name] = b"".join([chunk async for chunk in chunks]).decode(errors="replace")
    return texts


def _told(action: Digest, response: reapi.ExecuteResponse) -> str:
    """Say where the result comes from."""
    metadata = response.result.execution_metadata
    if response.cached_result:
        said = f"cached result of action {action}"
    else:
        begun = metadata.execution_start_timestamp.ToNanoseconds()
        ended = metadata.execution_completed_timestamp.ToNanoseconds()
        seconds = (ended - begun) / 1e9
        said = f"action {action} ran on {metadata.worker or 'a worker'} for {seconds:.2f} s"
    said += f", exit status {response.result.exit_code}"
    return f"{said}; {response.message}" if response.message else said


@dataclass(frozen=True, slots=True)
class _Stages:
    """Where the stage that the action is in is shown. stop: from then on, no more is."""

    show: Callable[[reapi.ExecuteOperationMetadata], object]
    stop: Callable[[], object]


@contextmanager
def _stages() -> Iterator[_Stages]:
    """Show the stage that the action is in, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield _Stages(lambda state: None, lambda: None)
        return
    with Console(stderr=True).status("waiting") as shown:

        def show(state: reapi.ExecuteOperationMetadata) -> None:
            name = reapi.ExecutionStage.Value.Name(state.stage)
            shown.update(name.lower().replace("_", " "))

        yield _Stages(show, shown.stop)
