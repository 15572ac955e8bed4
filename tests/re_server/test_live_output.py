"""Streams of running actions: made, filled and ended by the scheduler and its workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cas.digest import Digest
from cas.memory import MemoryStore
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_server.executions import Rerun
from re_server.live_output import LiveOutputs
from re_server.log_streams import LogLimits, LogStreams, log_streams
from scheduler.dispatch import Dispatcher
from scheduler.limits import Limits
from scheduler.live import UNNAMED
from scheduler.operation import Operation
from tests.re_server.test_log_streams import whole
from tests.scheduler.asking import offer, request
from tests.scheduler.dispatching import as_it_is
from tests.scheduler.stream import ended, finished, leased

STDOUT, STDERR = worker_pb2.Output.STDOUT, worker_pb2.Output.STDERR


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[LogStreams]:
    limits = LogLimits(max_stream_bytes=100, max_bytes=1000, max_streams=6, keep_seconds=10)
    with log_streams(tmp_path / "logs", limits) as made:
        yield made


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def dispatcher(streams: LogStreams, store: MemoryStore) -> Dispatcher:
    live = LiveOutputs(streams, store)
    return Dispatcher(settle=as_it_is, limits=Limits(), open_output=live.open)


def output(
    lease: worker_pb2.Lease,
    data: bytes,
    offset: int = 0,
    stream: worker_pb2.Output.Stream.ValueType = STDOUT,
) -> worker_pb2.FromWorker:
    return worker_pb2.FromWorker(
        output=worker_pb2.Output(lease=lease.id, stream=stream, offset=offset, data=data)
    )


async def read(streams: LogStreams, operation: Operation) -> tuple[bytes, bytes]:
    """Read both streams of an operation to their ends."""
    names = operation.state.streams
    return await whole(streams.find(names.stdout)), await whole(streams.find(names.stderr))


async def stored(store: MemoryStore, stdout: bytes) -> reapi.ExecuteResponse:
    digest = Digest.of(stdout)
    await store.write_all(stdout, digest)
    return reapi.ExecuteResponse(result=reapi.ActionResult(stdout_digest=digest_to(digest)))


async def test_what_a_worker_sends_is_there_at_once_and_the_rest_at_the_end(
    dispatcher: Dispatcher, streams: LogStreams, store: MemoryStore
) -> None:
    async with dispatcher.running(), dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        lease = await leased(attached)
        assert lease.live_output
        joined = dispatcher.execute(request())
        assert joined.state.streams == operation.state.streams != UNNAMED
        await attached.send(output(lease, b"one "))
        await attached.send(output(lease, b"told", stream=STDERR))
        assert streams.find(operation.state.streams.stdout).size == 4
        for senseless in (output(lease, b"x", 3), output(lease, b"x", -1), output(lease, b"x", 9)):
            await attached.send(senseless)
        await attached.send(finished(lease, await stored(store, b"one two")))
        await ended(operation)
        assert joined.state.streams == operation.state.streams
        assert await read(streams, operation) == (b"one two", b"told")
        await attached.send(output(lease, b"late", 7))


async def test_the_streams_of_a_worker_that_sends_nothing_are_filled_at_the_end(
    dispatcher: Dispatcher, streams: LogStreams, store: MemoryStore
) -> None:
    async with dispatcher.running(), dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        result = await stored(store, b"all")
        result.result.stderr_raw = b"raw"
        await attached.send(finished(await leased(attached), result))
        assert await read(streams, operation) == (b"all", b"raw")


async def test_each_attempt_has_streams_of_its_own(
    dispatcher: Dispatcher, streams: LogStreams
) -> None:
    async with dispatcher.running():
        async with dispatcher.attach(offer("one")) as attached:
            operation = dispatcher.execute(request())
            await attached.send(output(await leased(attached), b"lost"))
            first = operation.state.streams
        assert operation.state.streams == UNNAMED
        assert await whole(streams.find(first.stdout)) == b"lost"
        async with dispatcher.attach(offer("two")) as attached:
            lease = await leased(attached)
            second = operation.state.streams
            assert len({*first, *second}) == 4
            await attached.send(output(lease, b"again"))
            await attached.send(finished(lease))
            assert (await read(streams, operation))[0] == b"again"


async def test_the_streams_of_a_cancelled_action_end(
    dispatcher: Dispatcher, streams: LogStreams
) -> None:
    async with dispatcher.running(), dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        await attached.send(output(await leased(attached), b"begun"))
        dispatcher.cancel(operation.name)
        assert await read(streams, operation) == (b"begun", b"")


async def test_output_over_the_bound_is_cut_and_the_action_goes_on(
    dispatcher: Dispatcher, streams: LogStreams, store: MemoryStore
) -> None:
    async with dispatcher.running(), dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        lease = await leased(attached)
        await attached.send(output(lease, b"x" * 99))
        await attached.send(output(lease, b"yy", 99))
        await attached.send(finished(lease, await stored(store, b"x" * 99 + b"yy")))
        assert (await ended(operation)).result.stdout_digest.size_bytes == 101
        stdout, _ = await read(streams, operation)
        assert stdout.startswith(b"x" * 99 + b"y\n[holdfast: ")


async def test_a_result_whose_output_cannot_be_read_ends_the_streams_all_the_same(
    dispatcher: Dispatcher, streams: LogStreams
) -> None:
    async with dispatcher.running(), dispatcher.attach(offer()) as attached:
        for wrong in (digest_to(Digest.of(b"lost")), reapi.Digest(hash="none", size_bytes=9)):
            operation = dispatcher.execute(request(mergeable=False))
            result = reapi.ActionResult(stdout_digest=wrong)
            response = reapi.ExecuteResponse(result=result)
            await attached.send(finished(await leased(attached), response))
            assert await read(streams, operation) == (b"", b"")


async def test_without_room_for_streams_actions_run_without(
    dispatcher: Dispatcher, streams: LogStreams
) -> None:
    kept = [streams.create("") for _ in range(5)]
    async with dispatcher.running(), dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(request())
        lease = await leased(attached)
        assert not lease.live_output
        assert operation.state.streams == UNNAMED
        await attached.send(output(lease, b"unasked"))
        await attached.send(finished(lease))
        await ended(operation)
    assert not any(stream.finished for stream in kept)


async def test_nobody_can_read_along_with_the_servers_own_runs(
    dispatcher: Dispatcher, streams: LogStreams
) -> None:
    asked = request()
    rerun = Rerun(
        **{name: getattr(asked, name) for name in asked.__dataclass_fields__}, program="sh"
    )
    async with dispatcher.running(), dispatcher.attach(offer()) as attached:
        operation = dispatcher.execute(rerun)
        assert not (await leased(attached)).live_output
        assert operation.state.streams == UNNAMED
        assert len(streams) == 0


async def test_cached_results_have_no_streams(dispatcher: Dispatcher) -> None:
    async with dispatcher.running():
        assert dispatcher.completed(request(), reapi.ExecuteResponse()).state.streams == UNNAMED
        await asyncio.sleep(0)
