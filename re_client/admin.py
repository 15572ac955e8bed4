"""What a Holdfast server tells the people who run it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from typing import TypeVar

import grpc.aio

from cas.digest import Digest
from cas.wire import TO_WIRE, digest_to
from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from protos.admin_pb2_grpc import AdminStub
from re_client.connection import Connection, told_apart
from re_client.ending import Ending

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Admin:
    """The admin service of one server. NotImplementedError is raised by servers without it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = AdminStub(connection.channel)

    async def status(self) -> admin.ServerStatus:
        return await self._connection.call(self._stub.GetStatus, admin.GetStatusRequest())

    async def collect_garbage(self, target_bytes: int | None) -> admin.CollectGarbageResponse:
        """Evict down to `target_bytes`, to the low-water mark where it is None."""
        request = admin.CollectGarbageRequest(target_bytes=target_bytes)
        return await self._connection.call(self._stub.CollectGarbage, request)

    async def pin(self, instance_name: str, action: Digest) -> admin.Pin:
        """Return the action's pin; raise NotServed if it has none."""
        request = admin.GetPinRequest(
            instance_name=instance_name,
            action_digest=digest_to(action),
            digest_function=TO_WIRE[action.function],
        )
        return await self._connection.call(self._stub.GetPin, request)

    def pins(
        self, filter: admin.PinFilter, *, brief: bool = False
    ) -> AsyncGenerator[admin.Pin, None]:
        """Yield the pins that pass `filter`, in no order. brief: without their results.

        Raises ConnectionError where the stream breaks off: what came before it came once.
        """
        request = admin.ListPinsRequest(filter=filter, brief=brief)
        call = self._stub.ListPins(request, metadata=self._connection.metadata)
        return self._each(call, admin.Pin)

    async def _each(
        self, call: grpc.aio.UnaryStreamCall[Request, Reply], kind: type[Reply]
    ) -> AsyncGenerator[Reply, None]:
        try:
            while isinstance(reply := await _read(call), kind):
                yield reply
        except grpc.aio.AioRpcError as error:
            raise self._connection.fact(error) from None
        finally:
            call.cancel()

    async def replace_pin(
        self, instance_name: str, action: Digest, result: reapi.ActionResult | None
    ) -> admin.Pin:
        """Make `result` the action's pin, that of a new run where it is None; return the pin.

        Raises NotServed if there is no pin, MissingInputs if blobs of `result` are not there,
        Unserved if the run is no success.
        """
        request = admin.ReplacePinRequest(
            instance_name=instance_name,
            action_digest=digest_to(action),
            digest_function=TO_WIRE[action.function],
            result=result,
        )
        return await self._connection.call(self._stub.ReplacePin, request)

    async def drop_pins(self, filter: admin.PinFilter, *, every: bool, dry_run: bool) -> int:
        """Forget the pins that pass `filter`, and the cached results; return how many pins.

        every: a filter that names at most an instance is meant so; else it is refused.
        dry_run: count, and change nothing.
        """
        request = admin.DropPinsRequest(filter=filter, every=every, dry_run=dry_run)
        return (await self._connection.call(self._stub.DropPins, request)).dropped

    def proposals(
        self, filter: admin.ProposalFilter, *, brief: bool = False
    ) -> AsyncGenerator[admin.Proposal, None]:
        """Yield the proposals that pass `filter`; as `pins`."""
        request = admin.ListProposalsRequest(filter=filter, brief=brief)
        call = self._stub.ListProposals(request, metadata=self._connection.metadata)
        return self._each(call, admin.Proposal)

    async def confirm_proposal(self, instance_name: str, action: Digest, writer: str) -> admin.Pin:
        """Make what `writer` proposes the action's pin; return it.

        Raises NotServed if it proposes nothing, Unserved if that is not to be pinned.
        """
        request = admin.ConfirmProposalRequest(
            instance_name=instance_name,
            action_digest=digest_to(action),
            digest_function=TO_WIRE[action.function],
            writer=writer,
        )
        return await self._connection.call(self._stub.ConfirmProposal, request)

    async def drop_proposals(self, filter: admin.ProposalFilter) -> int:
        """Forget the proposals that pass `filter`; return how many. It names writers or actions."""
        request = admin.DropProposalsRequest(filter=filter)
        return (await self._connection.call(self._stub.DropProposals, request)).dropped

    async def import_pins(self, pins: AsyncIterable[admin.Pin]) -> admin.ImportPinsResponse:
        """Hand over pins of another server; say how many were taken, and how many not.

        Raises Refused for one that is none; what `pins` raises; ConnectionError where the stream
        breaks off. What was taken by then is; to begin again does no harm.
        """
        call = self._stub.ImportPins(metadata=self._connection.metadata)
        ending = Ending(call)
        try:
            async for pin in pins:
                await call.write(pin)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the server has ended the call: its answer says why
        except BaseException:
            call.cancel()
            raise
        try:
            with told_apart():
                return await call
        except grpc.aio.AioRpcError as error:
            raise self._connection.fact(ending.error or error) from None


async def _read(call: grpc.aio.UnaryStreamCall[Request, Reply]) -> object:
    with told_apart():
        return await call.read()
