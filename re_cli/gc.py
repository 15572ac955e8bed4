"""`holdfast gc`."""

from __future__ import annotations

import asyncio
import re

import click

from protos import admin_pb2 as admin
from re_cli.output import as_dict, bytes_text, json_option, print_json
from re_cli.remote import Remote, with_remote

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+)([KMGT]?)(?:i?B)?", re.IGNORECASE)


class _Size(click.ParamType[int]):
    name = "BYTES"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        parsed = _SIZE.fullmatch(str(value))
        if parsed is None:
            self.fail(f"{value!r} is no size: write 500000, 500M or 20G", param, ctx)
        return int(parsed[1]) * _UNITS[parsed[2].upper()]


@click.command()
@click.option(
    "--to",
    "target",
    type=_Size(),
    help="Bytes to come down to, with K, M, G or T for powers of 1024. 0: all that may go.  "
    "[default: the store's low-water mark]",
)
@json_option
@with_remote
def command(remote: Remote, target: int | None, *, as_json: bool) -> None:
    """Make the server evict what was used longest ago, now.

    What was promised to a client not long ago is leased and stays, so that the store can remain
    above the target.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the server cannot be reached.
    """
    done = asyncio.run(_collect(remote, target))
    if as_json:
        print_json(as_dict(done))
        return
    click.echo(
        f"evicted {done.evicted_blobs} blobs, {bytes_text(done.evicted_bytes)}, and dropped "
        f"{done.dropped_results} cached results; the store holds {bytes_text(done.bytes)}"
    )


async def _collect(remote: Remote, target: int | None) -> admin.CollectGarbageResponse:
    async with remote.open() as session:
        return await session.admin.collect_garbage(target)
