"""Blobs on their way out, compressed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial

from re_server.compression.codec import Codec

THREAD_BYTES = 64 * 1024  # what takes so long to compress that other calls are not to wait for it


async def compressed(codec: Codec, chunks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield `chunks`, which have `size` bytes in all, as one stream of `codec`."""
    encoder = codec.encoder(size)
    async with aclosing(chunks) as source:  # type: ignore[type-var]  # stores' are generators
        async for chunk in source:
            if data := await _run(partial(encoder.encode, chunk), len(chunk)):
                yield data
    yield await _run(encoder.end, size)


async def _run(call: Callable[[], bytes], size: int) -> bytes:
    return call() if size < THREAD_BYTES else await asyncio.to_thread(call)
