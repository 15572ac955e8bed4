"""What an action made, into the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path

from cas.digest import Digest
from cas.store import BlobStore
from cas.tree import is_empty
from worker.concurrency import each

CHUNK_BYTES = 1 << 20
BATCH_BYTES = 4_000_000  # what servers announce for a batch: below gRPC's own 4 MiB
BATCH_BLOBS = 1000
STREAMS = 4  # blobs too large for a batch that are written at one time


async def upload(store: BlobStore, blobs: Mapping[Digest, bytes | Path]) -> None:
    """Write those of `blobs` that the store does not have; raise what it raises, or OSError."""
    missing = await store.find_missing([digest for digest in blobs if not is_empty(digest)])
    small: dict[Digest, bytes] = {}
    size = 0
    large: list[Digest] = []
    for digest in missing:
        content = blobs[digest]
        if isinstance(content, Path) or digest.size > BATCH_BYTES:
            large.append(digest)
            continue
        if small and (size + digest.size > BATCH_BYTES or len(small) == BATCH_BLOBS):
            await _write_many(store, small)
            small, size = {}, 0
        small[digest] = content
        size += digest.size
    await _write_many(store, small)

    async def write(digest: Digest) -> None:
        async with aclosing(_chunks(blobs[digest])) as chunks:
            await store.write(digest, chunks)

    await each(large, write, limit=STREAMS)


async def _write_many(store: BlobStore, blobs: Mapping[Digest, bytes]) -> None:
    if not blobs:
        return
    for error in (await store.write_many(blobs)).values():
        raise error


async def _chunks(content: bytes | Path) -> AsyncGenerator[bytes, None]:
    if isinstance(content, bytes):
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]
        return
    with await asyncio.to_thread(content.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
