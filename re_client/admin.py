"""What a Holdfast server tells the people who run it."""

from __future__ import annotations

from cas.digest import Digest
from cas.wire import TO_WIRE, digest_to
from protos import admin_pb2 as admin
from protos.admin_pb2_grpc import AdminStub
from re_client.connection import Connection


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
