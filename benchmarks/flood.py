"""Clients that ask without a pause: what was answered, how late, and what was turned away."""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import quantiles

import grpc
import grpc.aio
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status

from benchmarks.corpus import BATCH, MIB, new_batch
from benchmarks.servers import CHANNEL_OPTIONS
from cas.digest import Digest
from cas.wire import digest_to
from protos import (
    bytestream_pb2 as bytestream,
    bytestream_pb2_grpc as bytestream_rpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as rpc,
)

CONNECTIONS = 16
CALL_SECONDS = 120  # longer than any answer may take: a call that meets it is lost
USUAL_WAIT_SECONDS = 1.0  # where a refusal does not say
ASKED_AT_ONCE = 5000  # digests in one question whether all is there

Call = Callable[[], Awaitable[list[reapi.Digest]]]


class AnswerWrong(RuntimeError):
    """A server has refused what it should take, or lost what it took."""


@dataclass(slots=True)
class Answered:
    """What came of a flood.

    seconds: how long it went on. latencies: of calls that were accepted, in seconds. shed: calls
    that were refused with RESOURCE_EXHAUSTED; unexplained: those of them without RetryInfo.
    kept: blobs that the server said it has.
    """

    seconds: float = 0
    latencies: list[float] = field(default_factory=list)
    shed: int = 0
    unexplained: int = 0
    kept: list[reapi.Digest] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Accepted calls per second."""
        return len(self.latencies) / self.seconds

    def milliseconds(self, part: int) -> float:
        """Return the latency that `part` % of accepted calls kept to."""
        return 1000 * quantiles(self.latencies, n=100)[part - 1]


async def flood(address: str, *, clients: int, seconds: float) -> Answered:
    """Let `clients` ask for `seconds`, each one call after the other, and wait for all answers.

    A client that is turned away comes back when it was told to. Raises AnswerWrong.
    """
    answered = Answered()
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
            )
            for _ in range(min(CONNECTIONS, clients))
        ]
        begin = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                client = _Client(channels[number % len(channels)])
                tasks.create_task(_ask(client, answered, until=begin + seconds))
        answered.seconds = time.monotonic() - begin
    return answered


async def count_lost(address: str, kept: list[reapi.Digest]) -> int:
    """Return how many of the blobs that a server said it has are not there."""
    lost = 0
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stub = rpc.ContentAddressableStorageStub(channel)
        for begin in range(0, len(kept), ASKED_AT_ONCE):
            asked = reapi.FindMissingBlobsRequest(blob_digests=kept[begin : begin + ASKED_AT_ONCE])
            lost += len((await stub.FindMissingBlobs(asked)).missing_blob_digests)
    return lost


class _Client:
    """What one client asks, as a build mixes it: uploads, questions, results, a stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._blobs = rpc.ContentAddressableStorageStub(channel)
        self._results = rpc.ActionCacheStub(channel)
        self._streams = bytestream_rpc.ByteStreamStub(channel)
        self._calls: list[Call] = [
            self._upload, self._question, self._look_up, self._look_up, self._stream
        ]  # fmt: skip

    async def ask(self) -> list[reapi.Digest]:
        """Make a call; return the blobs that the server has taken. Raises _Shed, AioRpcError."""
        return await random.choice(self._calls)()

    async def _upload(self) -> list[reapi.Digest]:
        answer = await self._blobs.BatchUpdateBlobs(new_batch(), timeout=CALL_SECONDS)
        for each in answer.responses:
            if each.status.code == Code.RESOURCE_EXHAUSTED:
                raise _Shed(explained=any(d.Is(RetryInfo.DESCRIPTOR) for d in each.status.details))
            if each.status.code:
                raise AnswerWrong(f"an upload was refused: {each.status}")
        return [each.digest for each in answer.responses]

    async def _question(self) -> list[reapi.Digest]:
        digests = [digest_to(Digest.of(os.urandom(16))) for _ in range(BATCH)]
        request = reapi.FindMissingBlobsRequest(blob_digests=digests)
        await self._blobs.FindMissingBlobs(request, timeout=CALL_SECONDS)
        return []

    async def _look_up(self) -> list[reapi.Digest]:
        request = reapi.GetActionResultRequest(action_digest=digest_to(Digest.of(os.urandom(16))))
        try:
            await self._results.GetActionResult(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        return []

    async def _stream(self) -> list[reapi.Digest]:
        data = os.urandom(16) + bytes(MIB - 16)
        digest = digest_to(Digest.of(data))
        await self._streams.Write(_writes(digest, data), timeout=CALL_SECONDS)
        return [digest]


class _Shed(Exception):
    def __init__(self, *, explained: bool) -> None:
        super().__init__()
        self.explained = explained


async def _ask(client: _Client, answered: Answered, *, until: float) -> None:
    while (begin := time.monotonic()) < until:
        try:
            kept = await client.ask()
        except _Shed as shed:
            await _wait(answered, USUAL_WAIT_SECONDS, explained=shed.explained, until=until)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise AnswerWrong(f"{error.code().name}: {error.details()}") from error
            seconds = _asked_to_wait(error)
            wait = USUAL_WAIT_SECONDS if seconds is None else seconds
            await _wait(answered, wait, explained=seconds is not None, until=until)
        else:
            answered.latencies.append(time.monotonic() - begin)
            answered.kept += kept


async def _wait(answered: Answered, seconds: float, *, explained: bool, until: float) -> None:
    answered.shed += 1
    answered.unexplained += not explained
    wait = seconds * random.uniform(0.5, 1.5)
    await asyncio.sleep(max(0.0, min(wait, until - time.monotonic())))


def _asked_to_wait(error: grpc.aio.AioRpcError) -> float | None:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it has what a Call has
    info = RetryInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


async def _writes(digest: reapi.Digest, data: bytes) -> AsyncIterator[bytestream.WriteRequest]:
    yield bytestream.WriteRequest(
        resource_name=f"uploads/{uuid.uuid4()}/blobs/{digest.hash}/{digest.size_bytes}",
        data=data,
        finish_write=True,
    )
