"""The Workers service: workers in processes of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from protos import worker_pb2, worker_pb2_grpc
from re_client.status import Refused
from re_server.rpc import Context
from scheduler.attached import Attached, InvalidOffer
from scheduler.dispatch import Dispatcher


class WorkersService(worker_pb2_grpc.WorkersServicer):
    """holdfast.worker.v1.Workers."""

    def __init__(self, dispatcher: Dispatcher, drained: asyncio.Event) -> None:
        self._dispatcher = dispatcher
        self._drained = drained

    async def Connect(
        self, requests: AsyncIterator[worker_pb2.FromWorker], context: Context
    ) -> AsyncIterator[worker_pb2.ToWorker]:
        messages = aiter(requests)
        first = await anext(messages, None)
        if first is None or first.WhichOneof("message") != "offer":
            raise Refused("the first message of a worker must be its offer")
        try:
            async with self._dispatcher.attach(first.offer) as attached:
                async for message in _exchanged(attached, messages, self._drained):
                    yield message
        except InvalidOffer as error:
            raise Refused(f"offer: {error}") from None


async def _exchanged(
    attached: Attached, messages: AsyncIterator[worker_pb2.FromWorker], drained: asyncio.Event
) -> AsyncIterator[worker_pb2.ToWorker]:
    """Yield what the worker is to do, and take in what it says, until one of them ends."""

    async def take_in() -> None:
        async for message in messages:
            await attached.send(message)

    ends = {asyncio.ensure_future(take_in()), asyncio.ensure_future(drained.wait())}
    try:
        while True:
            following = asyncio.ensure_future(attached.receive())
            try:
                done, _ = await asyncio.wait(
                    {*ends, following}, return_when=asyncio.FIRST_COMPLETED
                )
                if following not in done:
                    return
                yield following.result()
            finally:
                following.cancel()
    finally:
        for end in ends:
            end.cancel()
