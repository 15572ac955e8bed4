"""What a Holdfast server knows of results that differ, and audits that find more of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio

from cas.digest import Digest
from cas.wire import TO_WIRE, digest_to
from protos import admin_pb2 as admin
from protos.admin_pb2_grpc import AdminStub
from re_client.connection import Connection, told_apart
from re_client.status import NotServed

ALL = 10_000  # groups that are asked for to find one among them
LEAST_DIGITS = 6  # of an action's hash that stand for it


class Nondeterminism:
    """One instance's record. NotImplementedError is raised by servers without one."""

    def __init__(self, connection: Connection, instance_name: str) -> None:
        self._connection = connection
        self._instance_name = instance_name
        self._stub = AdminStub(connection.channel)

    async def worst(
        self,
        grouping: admin.ListNondeterminismRequest.Grouping.ValueType,
        *,
        since: float = 0,
        limit: int = 0,
    ) -> admin.ListNondeterminismResponse:
        """Return what saved most first. since: seconds since 1970. limit: 0 for the server's."""
        request = admin.ListNondeterminismRequest(
            instance_name=self._instance_name, grouping=grouping, limit=limit
        )
        if since:
            request.since.FromNanoseconds(int(since * 1e9))
        return await self._connection.call(self._stub.ListNondeterminism, request)

    async def explain(self, action: Digest) -> admin.Explanation:
        """Return all that is known of `action`; raise NotServed if nothing is."""
        request = admin.ExplainNondeterminismRequest(
            instance_name=self._instance_name,
            action_digest=digest_to(action),
            digest_function=TO_WIRE[action.function],
        )
        return await self._connection.call(self._stub.ExplainNondeterminism, request)

    async def named(self, digits: str) -> tuple[str, int]:
        """Return hash and size of the one action that differs and whose hash begins so.

        Raises NotServed if there is none, or more than one.
        """
        listed = await self.worst(admin.ListNondeterminismRequest.ACTION, limit=ALL)
        found = {
            (each.action_digest.hash, each.action_digest.size_bytes)
            for each in listed.groups
            if each.action_digest.hash.startswith(digits)
        }
        if len(found) != 1:
            count = "more than one action" if found else "no action"
            raise NotServed(f"{count} whose results differ begins with {digits}")
        return found.pop()

    async def audit(
        self, *, action: Digest | None, invocation: str, target: str, runs: int
    ) -> AsyncIterator[admin.AuditProgress]:
        """Audit one action, those of an invocation, or those whose targets match a glob.

        runs: for each factor; 0 for the server's setting. Raises NotServed if there is no such
        action, ConnectionError where the stream is cut off: what was found is in the record then.
        """
        request = admin.AuditRequest(
            instance_name=self._instance_name, invocation=invocation, target=target, runs=runs
        )
        if action is not None:
            request.action_digest.CopyFrom(digest_to(action))
            request.digest_function = TO_WIRE[action.function]
        call = self._stub.Audit(request, metadata=self._connection.metadata)
        try:
            with told_apart():
                async for progress in call:
                    yield progress
        except grpc.aio.AioRpcError as error:
            raise self._connection.fact(error) from None
        finally:
            call.cancel()
