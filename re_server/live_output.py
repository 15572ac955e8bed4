"""The log streams of running actions."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import aclosing, suppress

from cas.store import BlobStore
from cas.wire import digest_from
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_client.status import Overloaded, Refused, Unserved
from re_server.background import survived
from re_server.executions import Rerun
from re_server.log_stream import LogStream
from re_server.log_streams import LogStreams
from scheduler.live import StreamNames
from scheduler.request import Request


class ActionOutput:
    """What one attempt at an action writes; see scheduler/live.py.

    The worker sends what it can while the action runs. The rest is read from the result, so that in
    the end each stream is what the result has, whatever the worker left out, and also where it
    sends nothing because it is older.
    """

    def __init__(
        self, streams: LogStreams, blobs: BlobStore, request: Request, made: list[LogStream]
    ) -> None:
        self._streams = streams
        self._blobs = blobs
        self._function = request.action.function
        self._stdout, self._stderr = made
        self.names = StreamNames(self._stdout.name, self._stderr.name)

    def add(self, output: worker_pb2.Output) -> None:
        """Take what follows; the result has what was not to be taken."""
        is_stderr = output.stream == worker_pb2.Output.STDERR
        with suppress(Refused, Unserved):
            self._streams.append(
                self._stderr if is_stderr else self._stdout, output.offset, output.data
            )

    def complete(self, result: reapi.ActionResult) -> Coroutine[object, object, None]:
        whole = reapi.ActionResult(stdout_raw=result.stdout_raw, stderr_raw=result.stderr_raw)
        whole.stdout_digest.CopyFrom(result.stdout_digest)
        whole.stderr_digest.CopyFrom(result.stderr_digest)
        return self._complete(whole)

    async def _complete(self, whole: reapi.ActionResult) -> None:
        await self._fill(self._stdout, whole.stdout_raw, whole.stdout_digest)
        await self._fill(self._stderr, whole.stderr_raw, whole.stderr_digest)
        self.cut()

    async def _fill(self, stream: LogStream, raw: bytes, named: reapi.Digest) -> None:
        """Add what `stream` lacks of what was written, given as it is or by digest."""
        # Where it is over a bound, it says so itself.
        with survived("reading what an action wrote"), suppress(Unserved):
            if raw:
                self._streams.append(stream, stream.size, raw[stream.size :])
            elif named.size_bytes > stream.size:
                digest = digest_from(named, self._function)
                chunks = self._blobs.read(digest, offset=stream.size)
                async with aclosing(chunks):  # type: ignore[type-var]  # stores' are generators
                    async for chunk in chunks:
                        self._streams.append(stream, stream.size, chunk)

    def cut(self) -> None:
        self._streams.finish(self._stdout)
        self._streams.finish(self._stderr)


class LiveOutputs:
    """Makes streams for what actions write that clients have asked for."""

    def __init__(self, streams: LogStreams, blobs: BlobStore) -> None:
        self._streams = streams
        self._blobs = blobs

    def open(self, request: Request) -> ActionOutput | None:
        """Return new streams; None for the server's own runs, and where there is no room."""
        if isinstance(request, Rerun):
            return None
        made: list[LogStream] = []
        try:
            made.append(self._streams.create(request.instance, owned=True))
            made.append(self._streams.create(request.instance, owned=True))
        except Overloaded:
            for stream in made:
                self._streams.finish(stream)
            return None
        return ActionOutput(self._streams, self._blobs, request, made)
