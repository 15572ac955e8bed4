"""The worker's side of the stream on which a server hands out work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc.aio

from protos import worker_pb2
from protos.worker_pb2_grpc import WorkersStub
from re_client.connection import Connection, told_apart

WORKER_HEADER = "holdfast-worker"  # of every call of a worker; its value is left open
CLOSE_SECONDS = 5.0  # how long the server has to take in what was sent, when the stream ends

Call = grpc.aio.StreamStreamCall[worker_pb2.FromWorker, worker_pb2.ToWorker]


class WorkerLink:
    """One stream, open.

    Methods raise what the server ended it with, ConnectionError if it is gone. A link that has
    ended stays so. Both methods may be cancelled, and nothing is lost then: gRPC itself would end
    the stream, so that what waits for it is a task of its own.
    """

    def __init__(self, connection: Connection, call: Call) -> None:
        self._connection = connection
        self._call = call
        self._writing = asyncio.Lock()
        self._reading: asyncio.Task[worker_pb2.ToWorker] | None = None

    async def receive(self) -> worker_pb2.ToWorker:
        """Wait for the next message. One caller at a time."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        reading = self._reading
        try:
            return await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading = None

    async def send(self, message: worker_pb2.FromWorker, /) -> None:
        """Send `message`; callers take turns, since gRPC sends one at a time."""
        await asyncio.shield(self._write(message))

    async def _read(self) -> worker_pb2.ToWorker:
        try:
            with told_apart():
                message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._connection.fact(error) from None
        if isinstance(message, worker_pb2.ToWorker):
            return message
        raise self._ended()

    async def _write(self, message: worker_pb2.FromWorker) -> None:
        async with self._writing:
            try:
                with told_apart():
                    await self._call.write(message)
            except grpc.aio.AioRpcError as error:
                raise self._connection.fact(error) from None
            except asyncio.InvalidStateError:
                raise self._ended() from None

    def _ended(self) -> ConnectionError:
        return ConnectionError(f"{self._connection.server} has ended the worker's stream")

    async def close(self) -> None:
        """Say that nothing more is sent, and wait until the server has taken all in."""
        if self._call.done():
            return
        async with self._writing:
            await self._call.done_writing()
        while True:
            await self.receive()

    async def forget(self) -> None:
        """End the stream at once."""
        self._call.cancel()
        if self._reading is not None:
            await asyncio.wait({self._reading})
            if not self._reading.cancelled():
                self._reading.exception()


@asynccontextmanager
async def worker_link(connection: Connection, offer: worker_pb2.Offer) -> AsyncIterator[WorkerLink]:
    """Open a stream with `offer`, and end it with the block.

    What is still leased then is given to other workers. Raises what WorkerLink.send raises.
    """
    link = WorkerLink(
        connection, WorkersStub(connection.channel).Connect(metadata=connection.metadata)
    )
    try:
        await link.send(worker_pb2.FromWorker(offer=offer))
        yield link
        with suppress(ConnectionError, TimeoutError, asyncio.InvalidStateError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await link.close()
    finally:
        await link.forget()
