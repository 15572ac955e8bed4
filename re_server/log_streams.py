"""Logs that one writes while others read them: their names and their room."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import compare_digest, token_hex
from typing import NoReturn

from re_client.status import NotServed, Overloaded, Refused, Unserved
from re_server.log_stream import LogStream

LOGSTREAMS = "logstreams"
IDLE_SECONDS = 3600  # how long a client's log stays open for which nothing comes
_KEYWORDS = frozenset({"blobs", "compressed-blobs", "uploads"})  # of other resource names


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """Bounds on log streams; see re_config/schema.py, Logs."""

    max_stream_bytes: int
    max_bytes: int
    max_streams: int
    keep_seconds: float


@dataclass(frozen=True, slots=True)
class LogName:
    """What a log's resource name says. token: of a write name; "" in a read name."""

    name: str
    token: str = ""

    @property
    def parent(self) -> str:
        """The instance that it is a log of."""
        return "/".join(self.name.split("/")[:-2])


def parse_log_name(text: str) -> LogName | None:
    """Take `{parent}/logstreams/{id}` or `{parent}/logstreams/{id}/{token}` apart.

    None where `text` names something else.
    Source: remote_logstream.proto, message LogStream.
    """
    segments = text.split("/")
    if LOGSTREAMS not in segments[-3:-1] or not _KEYWORDS.isdisjoint(segments):
        return None
    if segments[-2] == LOGSTREAMS:
        return LogName(text)
    name, _, token = text.rpartition("/")
    return LogName(name, token) if token else None


class LogStreams:
    """All log streams, open and finished, in files below `folder`; made by `log_streams`.

    When there is no room, finished streams go, the oldest first; a stream that finds no room
    after that is finished with a line that says so.
    """

    def __init__(self, folder: Path, limits: LogLimits, *, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._open: dict[str, LogStream] = {}
        self._used: OrderedDict[str, float] = OrderedDict()  # of those that clients have open
        self._finished: OrderedDict[str, tuple[float, LogStream]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._open) + len(self._finished)

    @property
    def size(self) -> int:
        """Bytes that all of them have on disk."""
        return self._bytes

    def create(self, parent: str, *, owned: bool = False) -> LogStream:
        """Make a stream that is empty and open, under names that cannot be guessed.

        owned: finished by who asks for it, however long nothing is written to it.
        Raises Overloaded where as many are open as may be.
        """
        self.expire()
        while len(self) >= self._limits.max_streams and self._finished:
            self._drop_oldest()
        if len(self) >= self._limits.max_streams:
            raise Overloaded(f"{len(self)} logs are open, as many as logs.max_streams allows")
        id = token_hex(16)
        name = f"{parent}/{LOGSTREAMS}/{id}" if parent else f"{LOGSTREAMS}/{id}"
        stream = self._open[name] = LogStream(name, token_hex(16), self._folder / id)
        if not owned:
            self._used[name] = self._clock()
        return stream

    def find(self, name: str) -> LogStream:
        """Return the stream of a read name; raise NotServed."""
        self.expire()
        if name in self._open:
            return self._open[name]
        if name in self._finished:
            return self._finished[name][1]
        raise NotServed(f"resource_name {name[:200]!r}: no such log is known here, or no longer")

    def find_writable(self, named: LogName) -> LogStream:
        """Return the stream of a write name; raise Refused for a read name, NotServed."""
        if not named.token:
            raise Refused(
                f"resource_name {named.name[:200]!r}: a log is written by its write_resource_name"
            )
        stream = self.find(named.name)
        if not compare_digest(stream.token.encode(), named.token.encode()):
            raise NotServed(f"resource_name {named.name[:200]!r}: the token is not this log's")
        return stream

    def append(self, stream: LogStream, offset: int, data: bytes | memoryview) -> None:
        """Add `data` at `offset`, which is where the stream ends.

        Raises Refused for another offset, Unserved if the stream is finished: so it is as soon as
        `data` finds no room, with as much of it as there was room for.
        """
        if stream.finished:
            raise Unserved(f"{stream.name} is finished at {stream.size} bytes: none can be added")
        if offset != stream.size:
            raise Refused(f"write_offset {offset}: the log has {stream.size} bytes; go on there")
        if stream.name in self._used:
            self._used[stream.name] = self._clock()
            self._used.move_to_end(stream.name)
        limits = self._limits
        while self._finished and self._bytes + len(data) > limits.max_bytes:
            self._drop_oldest()
        room = min(limits.max_stream_bytes - stream.size, limits.max_bytes - self._bytes)
        kept = data[: max(room, 0)]
        try:
            stream.write(kept)
        except OSError as error:
            self._cut(stream, f"there is no room for more: {error.strerror}")
        self._bytes += len(kept)
        if len(kept) < len(data):
            if stream.written == limits.max_stream_bytes:
                self._cut(stream, f"logs.max_stream_bytes is {limits.max_stream_bytes}")
            self._cut(stream, f"logs.max_bytes is {limits.max_bytes}")

    def _cut(self, stream: LogStream, why: str) -> NoReturn:
        self.finish(stream, f"the log is cut off here; {why}")
        raise Unserved(f"{stream.name} was finished at {stream.written} bytes: {why}")

    def finish(self, stream: LogStream, why: str = "") -> None:
        """End the stream, if it is not ended. why: told in a last line, if it is not whole."""
        if not stream.finished:
            stream.finish(f"\n[holdfast: {why}]\n".encode() if why else b"")
            del self._open[stream.name]
            self._used.pop(stream.name, None)
            self._finished[stream.name] = (self._clock(), stream)

    def finish_all(self) -> None:
        """End all that is open: their readers get what is there, and wait for no more."""
        for stream in list(self._open.values()):
            self.finish(stream, "the server is stopping")

    def expire(self) -> None:
        """Finish what clients have left open, and forget what was finished too long ago."""
        now = self._clock()
        while self._finished:
            finished_at, _ = next(iter(self._finished.values()))
            if finished_at > now - self._limits.keep_seconds:
                break
            self._drop_oldest()
        while self._used:
            name, used = next(iter(self._used.items()))
            if used > now - IDLE_SECONDS:
                break
            self.finish(self._open[name], f"nothing was written for {IDLE_SECONDS} seconds")

    def _drop_oldest(self) -> None:
        _, (_, stream) = self._finished.popitem(last=False)
        self._bytes -= stream.written
        stream.remove()


@contextmanager
def log_streams(
    folder: Path, limits: LogLimits, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[LogStreams]:
    """Keep log streams in files below `folder` during the block; raise OSError.

    What a server that was killed has left there is removed first: nobody knows its names.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    _empty(folder)
    try:
        yield LogStreams(folder, limits, clock=clock)
    finally:
        _empty(folder)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
