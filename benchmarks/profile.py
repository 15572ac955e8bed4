"""Where the server's event loop spends its time, call by call.

`python -m benchmarks.profile [--only TEXT] [--top N]` serves in this process, under cProfile, while
each of the benchmarks' calls is made. Times are of the loop's thread alone, in seconds of its CPU;
the profiler slows Python code and not what is below it, so they say where to look, not how much
there is to win.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import time
from pathlib import Path
from types import CodeType

import uvloop

from benchmarks.calls import Row, Size, rows
from benchmarks.corpus import Corpus
from benchmarks.run import in_folder
from benchmarks.servers import Running
from benchmarks.table import Table
from re_config.schema import Config, Disk, Server, Worker
from re_server.serve import running

ANY_PORT = "127.0.0.1:0"
DEEP = 3  # folders of a file's path that are printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the names of the calls to make")
    parser.add_argument("--top", type=int, default=15, help="functions to print for each")
    arguments = parser.parse_args()

    def profiled(folder: Path) -> list[Table]:
        return uvloop.run(profiles(folder, arguments.only, arguments.top))

    for table in in_folder(profiled):
        print(table.markdown())


async def profiles(folder: Path, only: str, top: int) -> list[Table]:
    """Return a table for each call whose name has `only` in it, of `top` functions."""
    size = Size(seconds=2)
    corpus = Corpus(stream_bytes=size.stream_bytes)
    config = Config(
        server=Server(listen=ANY_PORT, web=ANY_PORT),
        store=Disk(path=str(folder / "store")),
        worker=Worker(enabled=False),
    )
    async with running(config, asyncio.Event()) as ready:
        server = Running("Holdfast", os.getpid(), ready.grpc, 0)
        with server.channel() as channel:
            await asyncio.to_thread(corpus.upload, channel)
        chosen = [row for row in rows(corpus, folder, size) if only in row.name]
        return [await _profile(row, server, top) for row in chosen]


async def _profile(row: Row, server: Running, top: int) -> Table:
    await asyncio.to_thread(row.prepare, server)
    profiler = cProfile.Profile(time.thread_time)
    begin = time.thread_time()
    profiler.enable()
    sample = await asyncio.to_thread(row.drive, server)
    profiler.disable()
    total = time.thread_time() - begin
    table = Table(
        row.name,
        f"{sample.amount:,.0f} {row.unit} in {total:.2f} s of the loop's CPU, profiler included.",
        ["calls", "own seconds", "with what it calls"],
    )
    by_own_time = sorted(profiler.getstats(), key=lambda entry: -entry.inlinetime)
    for entry in by_own_time[:top]:
        table.rows[_place(entry.code)] = [
            str(entry.callcount), entry.inlinetime, entry.totaltime
        ]  # fmt: skip
    return table


def _place(code: CodeType | str) -> str:
    if isinstance(code, str):  # not Python's
        return code.replace("|", "/")
    file = "/".join(Path(code.co_filename).parts[-DEEP:])
    return f"{file}:{code.co_firstlineno} {code.co_qualname}"


if __name__ == "__main__":
    main()
