"""Streams of chunks, as stores take them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable

from cas.digest import Digest
from cas.store import DigestMismatch

BUFFER_BYTES = 1 << 20  # what is collected before a thread hashes and writes it


async def collected(digest: Digest, chunks: AsyncIterable[bytes]) -> bytes:
    """Join `chunks`; raise DigestMismatch as soon as they are more than `digest` has."""
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > digest.size:
            raise DigestMismatch(expected=digest, found=digest._replace(size=len(data)))
    return bytes(data)


async def buffered(chunks: AsyncIterable[bytes]) -> AsyncGenerator[list[bytes]]:
    """Group `chunks` so that each group is worth a thread's while."""
    group: list[bytes] = []
    size = 0
    async for chunk in chunks:
        group.append(chunk)
        size += len(chunk)
        if size >= BUFFER_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
