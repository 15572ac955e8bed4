"""What a running command writes, shown as it comes."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import BinaryIO

from cas.digest import Digest, DigestFunction
from cas.store import BlobStore
from cas.wire import digest_from, digest_to
from protos import remote_execution_pb2 as reapi
from re_cli.output import note
from re_client.connection import Connection
from re_client.log import follow
from re_client.status import NotAllowed, NotServed, Refused, ServerFailed, Unserved

END_SECONDS = 5.0  # what a log has to end after its action; the result has all of it anyway


async def content(
    store: BlobStore, raw: bytes, named: reapi.Digest, function: DigestFunction
) -> AsyncIterator[bytes]:
    """Yield one stream of a result, inlined or not."""
    if raw:
        yield raw
    elif named.size_bytes:
        async for chunk in store.read(digest_from(named, function)):
            yield chunk


class _Shown:
    """One stream: what came out of it, and what of that is shown."""

    def __init__(self, out: BinaryIO, function: DigestFunction) -> None:
        self._out = out
        self._function = function
        self._unnamed = Digest("", 0, function)
        self._hasher = function.hasher(0)  # as many as come: then GITSHA1 has no hash
        self._content = hashlib.sha256()
        self._size = 0

    @property
    def begun(self) -> bool:
        return self._size > 0

    def show(self, data: bytes) -> None:
        self._hasher.update(data)
        self._content.update(data)
        self._size += len(data)
        self._out.write(data)
        self._out.flush()

    async def complete(self, store: BlobStore, raw: bytes, named: reapi.Digest) -> None:
        """Show what the result has beyond that; all of it, if it is another run's."""
        if named == digest_to(self._unnamed.found(self._hasher, self._size)):
            return
        whole = b"".join([chunk async for chunk in content(store, raw, named, self._function)])
        if hashlib.sha256(whole[: self._size]).digest() == self._content.digest():
            whole = whole[self._size :]
        else:
            note("the result has other output than this run; what follows is the result's:")
        self._out.write(whole)
        self._out.flush()


class LiveOutput:
    """Shows stdout and stderr of one execution, each attempt's as it comes.

    begun: called before the first byte is shown.
    """

    def __init__(
        self, connection: Connection, function: DigestFunction, begun: Callable[[], object]
    ) -> None:
        self._connection = connection
        self._function = function
        self._begun = begun
        self._names = ("", "")
        self._following: list[asyncio.Task[None]] = []
        self._streams = self._fresh()

    def on_stage(self, state: reapi.ExecuteOperationMetadata) -> None:
        """Follow the streams that the server names, if they are others than before."""
        names = (state.stdout_stream_name, state.stderr_stream_name)
        if names == self._names or not any(names):
            return
        for task in self._following:
            task.cancel()
        if any(stream.begun for stream in self._streams):
            note("its worker was lost, and the command runs again")
        self._names, self._streams = names, self._fresh()
        self._following = [
            asyncio.create_task(self._follow(name, stream))
            for name, stream in zip(names, self._streams, strict=True)
            if name
        ]

    async def complete(self, store: BlobStore, result: reapi.ActionResult) -> None:
        """Wait for the last that comes live, and show what the result has beyond it."""
        if self._following:
            await asyncio.wait(self._following, timeout=END_SECONDS)
        self._begun()
        for task in self._following:
            if not task.cancel() and (error := task.exception()) is not None:
                raise error
        stdout, stderr = self._streams
        await stdout.complete(store, result.stdout_raw, result.stdout_digest)
        await stderr.complete(store, result.stderr_raw, result.stderr_digest)

    def _fresh(self) -> tuple[_Shown, _Shown]:
        outs = (sys.stdout.buffer, sys.stderr.buffer)
        stdout, stderr = (_Shown(out, self._function) for out in outs)
        return stdout, stderr

    async def _follow(self, name: str, stream: _Shown) -> None:
        async with aclosing(_readable(self._connection, name)) as chunks:
            async for chunk in chunks:
                self._begun()
                stream.show(chunk)


async def _readable(connection: Connection, name: str) -> AsyncGenerator[bytes, None]:
    """Yield a stream as far as it can be read; the result has what cannot."""
    with suppress(
        ConnectionError, NotAllowed, NotImplementedError, NotServed, Refused, ServerFailed, Unserved
    ):
        async with aclosing(follow(connection, name)) as chunks:
            async for chunk in chunks:
                yield chunk
