"""What an action writes, on its way to the server: in order, and never in the action's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from protos import worker_pb2
from tests.worker.site import UNTOUCHED, Site
from worker.executor import Task
from worker.live import MESSAGE_BYTES, follower
from worker.stdio import Capture

STDOUT, STDERR = worker_pb2.Output.STDOUT, worker_pb2.Output.STDERR


class Sent:
    """A link that keeps what is sent."""

    def __init__(self) -> None:
        self.outputs: list[worker_pb2.Output] = []

    async def receive(self) -> worker_pb2.ToWorker:
        raise ConnectionError

    async def send(self, message: worker_pb2.FromWorker, /) -> None:
        self.outputs.append(message.output)

    def of(self, stream: worker_pb2.Output.Stream.ValueType) -> bytes:
        """Return what was sent of a stream, each message at the end of the one before."""
        whole = b""
        for output in self.outputs:
            if output.stream == stream:
                assert output.offset == len(whole)
                assert 0 < len(output.data) <= MESSAGE_BYTES
                whole += output.data
        return whole


class Stuck(Sent):
    """A link over which nothing gets."""

    async def send(self, message: worker_pb2.FromWorker, /) -> None:
        await asyncio.Event().wait()


class Broken(Sent):
    """A link that is gone."""

    async def send(self, message: worker_pb2.FromWorker, /) -> None:
        raise ConnectionError


@pytest.fixture
async def captures(tmp_path: Path) -> AsyncIterator[tuple[Capture, Capture]]:
    with (
        closing(Capture(tmp_path / "stdout", max_bytes=200_000)) as stdout,
        closing(Capture(tmp_path / "stderr", max_bytes=200_000)) as stderr,
    ):
        yield stdout, stderr


def write(capture: Capture, data: bytes) -> None:
    with open(capture.writer, "wb", closefd=False) as pipe:
        pipe.write(data)


async def test_all_that_is_kept_is_sent_and_then_it_ends(
    captures: tuple[Capture, Capture],
) -> None:
    stdout, stderr = captures
    link = Sent()
    following = asyncio.create_task(follower(link, "lease")(stdout, stderr))
    write(stderr, b"told")
    for _ in range(5):
        await asyncio.to_thread(write, stdout, b"x" * 50_000)
    stdout.close_writer()
    stderr.close_writer()
    await following
    assert link.of(STDERR) == b"told"
    said = link.of(STDOUT)
    content = stdout.content()
    assert isinstance(content, Path)  # it was more than is kept in memory
    assert said == content.read_bytes()
    assert said.startswith(b"x" * 200_000 + b"\n[holdfast: 50000 more bytes")
    assert {output.lease for output in link.outputs} == {"lease"}


async def test_what_is_kept_can_be_read_in_parts_and_waited_for(
    captures: tuple[Capture, Capture],
) -> None:
    stdout, _ = captures
    write(stdout, b"one")
    assert await stdout.grown(0)
    assert (stdout.part(0, 2), stdout.part(2, 9), stdout.part(3, 9)) == (b"on", b"e", b"")
    more = asyncio.create_task(stdout.grown(3))
    await asyncio.sleep(0)
    assert not more.done()
    stdout.close_writer()
    assert not await more
    assert await stdout.grown(2)


@pytest.mark.parametrize("kind", [Sent, Stuck, Broken])
async def test_an_action_never_waits_for_who_reads_along(worker: Site, kind: type[Sent]) -> None:
    action = await worker.action(["/bin/sh", "-c", "echo one; seq 100000; sleep 0.3; echo last"])
    link = kind()
    executed = await worker.executor.execute(
        Task("", action, 60, UNTOUCHED), follower(link, "lease")
    )
    whole = (await worker.stdout(executed.result)).encode()
    assert whole.endswith(b"last\n")
    assert whole.startswith(link.of(STDOUT))
    assert bool(link.outputs) == (kind is Sent)
