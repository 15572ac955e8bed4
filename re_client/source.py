"""Bytes to upload, which can be gone back in when a connection breaks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing

from cas.store import Chunk

SEGMENT_BYTES = 1 << 20  # of one message: smaller ones cost calls, larger ones only memory
KEPT_BYTES = 16 << 20  # already sent, and had again if the server did not keep them


class Source:
    """Chunks, joined and cut to the size of messages.

    Going back is possible as far as wanted where the chunks can be iterated over anew (FileChunks,
    anything that is not an iterator itself), else over the last KEPT_BYTES that were sent.
    """

    def __init__(self, chunks: AsyncIterable[Chunk]) -> None:
        self._chunks = chunks
        self._fresh = _segmented(aiter(chunks))
        self._kept: deque[bytes] = deque()
        self._begin = 0  # offset of the first byte that is kept
        self._end = 0  # offset of the first byte that is not read yet

    async def aclose(self) -> None:
        await self._fresh.aclose()

    async def segments(self, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield all bytes from `offset` on.

        Raises ConnectionError if they cannot be had again, and what the chunks raise.
        """
        await self._go_to(offset)
        position = self._begin
        for segment in tuple(self._kept):
            if position + len(segment) > offset:
                yield segment[max(0, offset - position) :]
            position += len(segment)
        async for segment in self._fresh:
            self._keep(segment)
            yield segment

    async def _go_to(self, offset: int) -> None:
        if self._begin <= offset <= self._end:
            return
        if offset > self._end or aiter(self._chunks) is self._chunks:
            raise ConnectionError(
                f"the upload broke off and cannot go on: the server wants byte {offset}, of which "
                f"{self._begin} to {self._end} are at hand"
            )
        await self._fresh.aclose()
        self._kept.clear()
        self._fresh = _skipped(aiter(self._chunks), offset)
        self._begin = self._end = offset

    def _keep(self, segment: bytes) -> None:
        self._kept.append(segment)
        self._end += len(segment)
        while self._end - self._begin > KEPT_BYTES:
            self._begin += len(self._kept.popleft())


async def _segmented(chunks: AsyncIterator[Chunk]) -> AsyncGenerator[bytes, None]:
    """Join small chunks and cut large ones."""
    held: list[Chunk] = []
    size = 0
    async for chunk in chunks:
        if size + len(chunk) > SEGMENT_BYTES and held:
            yield b"".join(held)
            held, size = [], 0
        start = 0
        while len(chunk) - start > SEGMENT_BYTES:
            yield bytes(chunk[start : start + SEGMENT_BYTES])
            start += SEGMENT_BYTES
        if rest := chunk[start:]:
            held.append(rest)
            size += len(rest)
    if held:
        yield bytes(held[0]) if len(held) == 1 else b"".join(held)


async def _skipped(chunks: AsyncIterator[Chunk], count: int) -> AsyncGenerator[bytes, None]:
    """Leave out the first `count` bytes."""
    async with aclosing(_segmented(chunks)) as segments:
        async for segment in segments:
            if count < len(segment):
                yield segment[count:]
            count = max(0, count - len(segment))
