"""The messages of one ByteStream.Write, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

from re_client.status import Refused
from re_server.write_message import WriteMessage, parse_write_message

HANG_UP_SECONDS = 0.5  # what a client has to end its stream after finish_write


async def parsed(messages: AsyncIterable[bytes]) -> AsyncIterator[WriteMessage]:
    async for message in messages:
        yield parse_write_message(message)


def check_follows(message: WriteMessage, name: str, expected: int) -> None:
    """Raise Refused unless `message` goes on with the stream of `name` at offset `expected`."""
    if message.resource_name not in {"", name}:
        raise Refused(f"resource_name {message.resource_name!r}: the stream began with {name!r}")
    if message.write_offset != expected:
        raise Refused(f"write_offset {message.write_offset}: expected {expected}")


async def check_last(messages: AsyncIterator[WriteMessage]) -> None:
    """Raise Refused if a message follows; a client that does not hang up is not waited for."""
    try:
        async with asyncio.timeout(HANG_UP_SECONDS):
            following = await anext(messages, None)
    except TimeoutError:
        return
    if following is not None:
        raise Refused("a message came after finish_write")
