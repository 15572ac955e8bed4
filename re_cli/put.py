"""`holdfast put`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from cas.digest import Digest
from cas.folder import Blobs, Folder, encode
from re_cli.output import bytes_text, json_option, metered, note, print_json
from re_cli.remote import Remote, with_remote
from re_client.folder import scan
from re_client.upload import upload


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="FILE|DIR...",
    type=click.Path(exists=True, path_type=Path),
)
@json_option
@with_remote
def command(remote: Remote, paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Upload files and folders, and print their digests.

    A folder becomes a tree of Directory messages, and the digest printed is that of its root: what
    `holdfast get --tree` and an action's input_root_digest take. What the server has is not sent.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    asyncio.run(_put(remote, paths, as_json=as_json))


async def _put(remote: Remote, paths: tuple[Path, ...], *, as_json: bool) -> None:
    blobs: Blobs = {}
    digests = [await asyncio.to_thread(_scanned, remote, path, blobs) for path in paths]
    with metered("uploading") as meter:
        async with remote.open() as session:
            sent = await upload(
                session.store, blobs, on_total=meter.on_total, on_bytes=meter.on_bytes
            )
    if as_json:
        named = [
            {"path": str(path), "digest": str(digest), "kind": "tree" if path.is_dir() else "file"}
            for path, digest in zip(paths, digests, strict=True)
        ]
        print_json({"blobs": named, "uploaded": {"blobs": sent.blobs, "bytes": sent.bytes}})
        return
    for path, digest in zip(paths, digests, strict=True):
        click.echo(f"{digest}  {path}")
    note(f"uploaded {sent.blobs} of {len(blobs)} blobs, {bytes_text(sent.bytes)}")


def _scanned(remote: Remote, path: Path, blobs: Blobs) -> Digest:
    found = scan(path, remote.function, blobs)
    return encode(found, remote.function, blobs) if isinstance(found, Folder) else found.digest
