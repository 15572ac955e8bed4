"""What an action writes to stdout or stderr: bounded, in memory while little, then on disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 64 * 1024  # a pipe's capacity
MEMORY_BYTES = 64 * 1024  # kept in memory; what goes beyond is spilled to a file, with all before


class Capture:
    """One stream of one action: a pipe, pumped by the event loop.

    The first `max_bytes` are kept. The rest is read and dropped, so that the action goes on, and
    a line at the end says how much that was.
    """

    def __init__(self, spill: Path, *, max_bytes: int) -> None:
        self._spill = spill
        self._max_bytes = max_bytes
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._kept_bytes = 0
        self._dropped_bytes = 0
        self._failure: OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._size = 0
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._loop.add_reader(self._reader, self._pump)

    def close_writer(self) -> None:
        """Let go of the end that the action has got: the stream ends when it does."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        """Stop reading; what was kept can still be had."""
        self.close_writer()
        if self._reader >= 0:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1
        if self._file is not None:
            self._file.close()
        self._ended.set()
        self._tell()

    async def end(self) -> None:
        """Wait until nobody can write any more; raise OSError if there was no room for it all."""
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure

    def content(self) -> bytes | Path:
        """Return what was kept: itself if it is little, else the file that it is in."""
        return bytes(self._memory) if self._file is None else self._spill

    async def grown(self, size: int) -> bool:
        """Wait until more than `size` bytes are kept; False if there will never be."""
        while self._size <= size and not self._ended.is_set():
            await self._changed.wait()
        return self._size > size

    def part(self, offset: int, max_bytes: int) -> bytes:
        """Return what is kept from `offset` on, `max_bytes` of it at most; raise OSError."""
        if self._file is None:
            return bytes(self._memory[offset : offset + max_bytes])
        with self._spill.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), max_bytes, offset)

    def _pump(self) -> None:
        try:
            data = os.read(self._reader, CHUNK_BYTES)
        except BlockingIOError:
            return
        try:
            if data:
                self._keep(data)
            elif self._dropped_bytes and self._failure is None:
                self._append(self._last_line())
        except OSError as error:  # raised by `end`; until then the action must not be held up
            self._failure = error
        if not data:
            self.close()

    def _keep(self, data: bytes) -> None:
        room = 0 if self._failure else self._max_bytes - self._kept_bytes
        kept = data[:room]
        self._kept_bytes += len(kept)
        self._dropped_bytes += len(data) - len(kept)
        if kept:
            self._append(kept)

    def _append(self, data: bytes) -> None:
        size = self._size + len(data)
        if self._file is None and size <= MEMORY_BYTES:
            self._memory += data
        else:
            if self._file is None:
                self._file = self._spill.open("wb")
                data = bytes(self._memory) + data
                self._memory.clear()
            self._file.write(data)
            self._file.flush()
        self._size = size
        self._tell()

    def _tell(self) -> None:
        """Wake who waits; who comes later waits for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _last_line(self) -> bytes:
        return (
            f"\n[holdfast: {self._dropped_bytes} more bytes were dropped; "
            f"worker.max_stdio_bytes is {self._max_bytes}]\n"
        ).encode()
