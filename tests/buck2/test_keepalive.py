"""Pings at the pace of Buck2's gRPC library, which servers take for abuse unless they are told."""

from __future__ import annotations

import asyncio

import pytest
from google.longrunning import operations_pb2

from protos import remote_execution_pb2 as reapi
from tests.buck2.actions import make
from tests.buck2.connection import Connection
from tests.buck2.pinging import PingingConnection, pinging
from tests.buck2.uploads import upload
from tests.protocol.blobs import unique
from tests.serving import Served

EXECUTE = "/build.bazel.remote.execution.v2.Execution/Execute"
CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
# Without the repetition of stages, so that the stream is silent for as long as the action runs.
SETTINGS = "server.drain_seconds = 2\nexecution.heartbeat_seconds = 3600\n"


async def assert_answers(connection: PingingConnection) -> None:
    stream = await connection.call(CAPABILITIES, reapi.GetCapabilitiesRequest())
    await stream.ended.wait()
    assert stream.trailers.get("grpc-status") == "0", (stream, connection.goaway)


async def idle(address: str, *, times: int, interval_seconds: float) -> None:
    """Ping on a connection without calls, and use it afterwards."""
    async with pinging(address) as connection:
        await connection.ping(times=times, interval_seconds=interval_seconds)
        assert connection.goaway == ""
        assert connection.acknowledged == times
        await assert_answers(connection)


async def silent(client: Connection, address: str, *, times: int, interval_seconds: float) -> None:
    """Ping while one action is silent, and get its result afterwards."""
    seconds = times * interval_seconds
    made = make(f"sleep {seconds}; echo done # {unique().hex()}")
    await upload(client, made.blobs.data)
    async with pinging(address) as connection:
        stream = await connection.call(EXECUTE, reapi.ExecuteRequest(action_digest=made.digest))
        await connection.ping(times=times, interval_seconds=interval_seconds)
        assert connection.goaway == ""
        await asyncio.wait_for(stream.ended.wait(), seconds + 60)
        assert stream.broken == ""
        assert stream.trailers["grpc-status"] == "0"
        assert connection.acknowledged == times
        assert len(stream.messages()) < times  # it was silent
        last = operations_pb2.Operation.FromString(stream.messages()[-1])
        response = reapi.ExecuteResponse.FromString(last.response.value)
        assert (response.status.code, response.result.exit_code) == (0, 0)
        await assert_answers(connection)


async def test_a_ping_every_second_is_no_abuse(served: Served, client: Connection) -> None:
    # Buck2 rule: it pings every 30 s, also when idle and while a stream is silent. A server of
    # gRPC's defaults gives up at the third ping that comes sooner than 300 s after the last.
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(idle(served.grpc, times=25, interval_seconds=1))
        tasks.create_task(silent(client, served.grpc, times=20, interval_seconds=1))


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_an_action_silent_for_five_minutes_survives_pings_every_thirty_seconds(
    served: Served, client: Connection
) -> None:
    # Buck2 rule: any action of more than 120 s fails the build where the server counts its pings.
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(idle(served.grpc, times=11, interval_seconds=30))
        tasks.create_task(silent(client, served.grpc, times=10, interval_seconds=30))
