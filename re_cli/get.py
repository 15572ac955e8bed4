"""`holdfast get`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from cas.digest import Digest
from cas.tree import TreeLimits
from re_cli.output import metered
from re_cli.remote import Remote, with_remote
from re_client.download import Occupied, Plan, carry_out, load_tree


@click.command()
@click.argument("digest", metavar="DIGEST")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write to. Without it a blob goes to stdout.",
)
@click.option(
    "--tree",
    is_flag=True,
    help="DIGEST is a Directory, or the Tree of an output directory: make the folder that it is.",
)
@with_remote
def command(remote: Remote, digest: str, output: Path | None, *, tree: bool) -> None:
    """Download the blob DIGEST, written HASH/SIZE.

    What arrives is hashed: -o PATH appears only if it is right, and when a blob that goes to
    stdout is not, the exit status says so.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    if tree and output is None:
        raise click.UsageError("--tree makes a folder: say where with -o PATH")
    if tree and output is not None and not _is_vacant(output):
        raise Occupied(f"{output} is there already: name a new folder, or an empty one")
    asyncio.run(_get(remote, remote.digest(digest), output, tree=tree))


def _is_vacant(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


async def _get(remote: Remote, digest: Digest, output: Path | None, *, tree: bool) -> None:
    with metered("downloading") as meter:
        async with remote.open() as session:
            if output is None:
                meter.on_total(digest.size)
                async for chunk in session.store.read(digest):
                    sys.stdout.buffer.write(chunk)
                    meter.on_bytes(len(chunk))
                sys.stdout.buffer.flush()
                return
            plan = Plan()
            if tree:
                plan.add_tree(await load_tree(session.store, digest, TreeLimits()), output)
            else:
                plan.add_file(digest, output, executable=False)
            meter.on_total(plan.bytes)
            await carry_out(session.store, plan, on_bytes=meter.on_bytes)
