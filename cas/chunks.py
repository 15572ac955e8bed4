"""Streams of chunks, as stores take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from pathlib import Path

from cas.digest import Digest
from cas.store import Chunk, DigestMismatch

BUFFER_BYTES = 1 << 20  # what is collected before a thread hashes and writes it


async def collected(digest: Digest, chunks: AsyncIterable[Chunk]) -> bytes:
    """Join `chunks`; raise DigestMismatch as soon as they are more than `digest` has."""
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > digest.size:
            raise DigestMismatch(expected=digest, found=digest._replace(size=len(data)))
    return bytes(data)


async def buffered(chunks: AsyncIterable[Chunk]) -> AsyncGenerator[list[Chunk]]:
    """Group `chunks` so that each group is worth a thread's while."""
    group: list[Chunk] = []
    size = 0
    async for chunk in chunks:
        group.append(chunk)
        size += len(chunk)
        if size >= BUFFER_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


class FileChunks(AsyncIterable[bytes]):
    """The bytes of a file, as often as they are iterated over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with await asyncio.to_thread(self._path.open, "rb", 0) as file:
            while chunk := await asyncio.to_thread(file.read, BUFFER_BYTES):
                yield chunk
