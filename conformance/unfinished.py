"""Uploads that are broken off, and what a server says of them."""

from __future__ import annotations

import asyncio

from grpc import StatusCode

from conformance import methods
from conformance.refusal import Refused
from conformance.target import Requests, Target, piece
from conformance.violation import optional

SETTLED_SECONDS = 0.2  # for a server to take in what was sent, and that its client is gone


async def known(target: Target, name: str) -> tuple[int, bool] | None:
    """Return committed size and completeness; None if the write is not known: NOT_FOUND."""
    with optional("QueryWriteStatus"):
        try:
            said = await target.write_status(name)
        except Refused as error:
            if error.code == StatusCode.NOT_FOUND:
                return None
            raise
    return said.committed_size, said.complete


async def status(target: Target, name: str) -> tuple[int, bool]:
    """Return committed size and completeness; what is not known is to be begun at 0."""
    return await known(target, name) or (0, False)


async def break_off(target: Target, name: str, data: bytes) -> None:
    """Send the beginning of a write, and break the call off."""
    sent = asyncio.Event()

    async def beginning() -> Requests:
        for start in range(0, len(data), 1 << 16):
            yield piece(name, data[start : start + (1 << 16)], offset=start)
        sent.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(target.send(methods.WRITE, beginning()))
    ended = asyncio.create_task(sent.wait())
    try:
        await asyncio.wait([writing, ended], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(SETTLED_SECONDS)
    finally:
        writing.cancel()
        ended.cancel()
    await asyncio.gather(writing, ended, return_exceptions=True)
    await asyncio.sleep(SETTLED_SECONDS)
