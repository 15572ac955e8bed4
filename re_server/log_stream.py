"""One log: a sequence of bytes that is read while it grows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from pathlib import Path

from re_client.status import NotServed, OutOfRange

CHUNK_BYTES = 256 * 1024  # of one read


class LogStream:
    """One log, whose bytes are in a file from the first one on.

    name: what it is read by. token: what a writer must know besides. written: bytes in the file;
    size: those, and the last line that a stream has which is not whole. Only LogStreams changes it.
    """

    def __init__(self, name: str, token: str, path: Path) -> None:
        self.name = name
        self.token = token
        self.written = 0
        self.finished = False
        self._path = path
        self._last_line = b""
        self._on_disk = False
        self._changed = asyncio.Event()

    @property
    def write_name(self) -> str:
        return f"{self.name}/{self.token}"

    @property
    def size(self) -> int:
        return self.written + len(self._last_line)

    def write(self, data: bytes | memoryview) -> None:
        """Add `data` at the end; raise OSError, and nothing is added then."""
        if data:
            with self._path.open("r+b" if self._on_disk else "wb") as file:
                self._on_disk = True
                file.seek(self.written)
                file.write(data)
            self.written += len(data)
            self._tell()

    def finish(self, last_line: bytes) -> None:
        """Let nothing more come after `last_line`."""
        self._last_line = last_line
        self.finished = True
        self._tell()

    def remove(self) -> None:
        """Give up its room. Who is reading reads on."""
        if self._on_disk:
            self._path.unlink()

    async def read(self, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield what is there from `offset` on, then what comes, until the stream is finished.

        Raises OutOfRange before the first chunk, NotServed where the stream was given up.
        """
        if not 0 <= offset <= self.size:
            raise OutOfRange(f"read_offset {offset}: the log has {self.size} bytes by now")
        with ExitStack() as opened:
            file: int | None = None
            while True:
                changed = self._changed
                if offset < self.written:
                    if file is None:
                        file = self._opened()
                        opened.callback(os.close, file)
                    size = min(self.written - offset, CHUNK_BYTES)
                    chunk = await asyncio.to_thread(os.pread, file, size, offset)
                elif offset < self.size:
                    chunk = self._last_line[offset - self.written :]
                elif self.finished:
                    return
                else:
                    await changed.wait()
                    continue
                offset += len(chunk)
                yield chunk

    def _opened(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotServed(f"the log {self.name} is not kept any longer") from None

    def _tell(self) -> None:
        """Wake all who wait; who comes later waits for what changes next."""
        self._changed.set()
        self._changed = asyncio.Event()
