"""What an action writes, sent to its server while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from protos import worker_pb2
from worker.link import Link
from worker.stdio import Capture

SECONDS = 0.1  # between two messages of one stream
MESSAGE_BYTES = 64 * 1024

Follow = Callable[[Capture, Capture], Coroutine[None, None, None]]
"""Sends what stdout and stderr take in, until it is cancelled or both have ended."""


def follower(link: Link, lease: str) -> Follow:
    """Return what sends the output of `lease` over `link`.

    It goes over the stream that leases come on: there a worker is known already, only the leases
    it has are its to write to, and what is sent before `Finished` also arrives before it. Output is
    read back from where it is captured, a message at a time, so the action never waits for the
    network, nothing piles up, and `Finished` waits for a message of each stream at the most. What
    is written faster than that lags behind; when the action has ended, the server takes the rest
    from the result.
    """

    async def send(capture: Capture, stream: worker_pb2.Output.Stream.ValueType) -> None:
        offset = 0
        while await capture.grown(offset):
            await asyncio.sleep(SECONDS)
            data = capture.part(offset, MESSAGE_BYTES)
            output = worker_pb2.Output(lease=lease, stream=stream, offset=offset, data=data)
            await link.send(worker_pb2.FromWorker(output=output))
            offset += len(data)

    async def follow(stdout: Capture, stderr: Capture) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send(stdout, worker_pb2.Output.STDOUT))
            tasks.create_task(send(stderr, worker_pb2.Output.STDERR))

    return follow


@asynccontextmanager
async def followed(follow: Follow | None, stdout: Capture, stderr: Capture) -> AsyncIterator[None]:
    """Have both followed during the block, whatever comes of that."""
    if follow is None:
        yield
        return
    following = asyncio.create_task(follow(stdout, stderr))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait([following])
        if not following.cancelled():
            following.exception()  # a link that is gone ends the session, too
