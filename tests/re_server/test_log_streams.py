"""The register of logs, without a server around it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from re_client.status import NotServed, OutOfRange, Overloaded, Refused, Unserved
from re_server.log_stream import LogStream
from re_server.log_streams import (
    IDLE_SECONDS,
    LogLimits,
    LogName,
    LogStreams,
    log_streams,
    parse_log_name,
)
from tests.scheduler.asking import Clock

LIMITS = LogLimits(max_stream_bytes=100, max_bytes=250, max_streams=4, keep_seconds=10)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def streams(tmp_path: Path, clock: Clock) -> Iterator[LogStreams]:
    with log_streams(tmp_path / "logs", LIMITS, clock=clock) as made:
        yield made


async def whole(stream: LogStream, offset: int = 0) -> bytes:
    """Read a stream until it is finished."""
    return b"".join([chunk async for chunk in stream.read(offset)])


def finished(streams: LogStreams, size: int) -> LogStream:
    """Return a finished stream of as many bytes."""
    stream = streams.create("")
    streams.append(stream, 0, bytes(size))
    streams.finish(stream)
    return stream


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("logstreams/a", LogName("logstreams/a")),
        ("x/y/logstreams/a", LogName("x/y/logstreams/a")),
        ("x/logstreams/a/t", LogName("x/logstreams/a", "t")),
        ("logstreams", None),
        ("main/logstreams/ab/", None),
        ("logstreams/blobs/hash/1", None),
        ("x/uploads/id/blobs/hash/1/logstreams/a", None),
        ("blobs/hash/1", None),
    ],
)
def test_a_name_is_a_logs_by_its_form(text: str, named: LogName | None) -> None:
    assert parse_log_name(text) == named


async def test_names_are_below_their_parent_and_tell_nothing_of_one_another(
    streams: LogStreams,
) -> None:
    one, two = streams.create("a/b"), streams.create("")
    assert one.name.startswith("a/b/logstreams/")
    assert two.name.startswith("logstreams/")
    assert one.write_name.startswith(f"{one.name}/")
    secrets = {part for each in (one, two) for part in each.write_name.split("/")[-2:]}
    assert len(secrets) == 4
    assert min(map(len, secrets)) == 32


async def test_who_reads_gets_what_is_there_and_then_what_comes(streams: LogStreams) -> None:
    stream = streams.create("")
    streams.append(stream, 0, b"one")
    async with aclosing(stream.read(0)) as chunks, asyncio.TaskGroup() as tasks:
        assert await anext(chunks) == b"one"
        late = tasks.create_task(whole(stream, 3))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not late.done()
        streams.append(stream, 3, b"two")
        assert await anext(chunks) == b"two"
        streams.finish(stream)
        assert await anext(chunks, None) is None
    assert late.result() == b"two"
    assert await whole(stream) == b"onetwo"
    assert await whole(stream, 6) == b""
    for offset in (-1, 7):
        with pytest.raises(OutOfRange):
            await whole(stream, offset)


async def test_what_is_written_is_never_overwritten_and_nothing_follows_the_end(
    streams: LogStreams,
) -> None:
    stream = streams.create("")
    streams.append(stream, 0, b"one")
    for offset in (0, 2, 4):
        with pytest.raises(Refused, match="go on there"):
            streams.append(stream, offset, b"x")
    streams.finish(stream)
    with pytest.raises(Unserved):
        streams.append(stream, 3, b"x")
    streams.finish(stream)
    assert await whole(stream) == b"one"


async def test_only_who_has_the_token_may_write(streams: LogStreams) -> None:
    stream = streams.create("")
    assert streams.find_writable(LogName(stream.name, stream.token)) is stream
    with pytest.raises(Refused, match="write_resource_name"):
        streams.find_writable(LogName(stream.name))
    for named in (LogName(stream.name, "0" * 32), LogName("logstreams/none", stream.token)):
        with pytest.raises(NotServed):
            streams.find_writable(named)


async def test_a_log_over_its_bound_ends_with_a_line_that_says_so(streams: LogStreams) -> None:
    stream = streams.create("")
    with pytest.raises(Unserved, match="max_stream_bytes"):
        streams.append(stream, 0, b"x" * 101)
    assert stream.finished
    said = await whole(stream)
    assert said.startswith(b"x" * 100 + b"\n[holdfast: ")
    assert b"logs.max_stream_bytes is 100" in said
    assert await whole(stream, 102) == said[102:]


async def test_the_oldest_finished_logs_go_for_new_bytes_and_open_ones_never(
    streams: LogStreams,
) -> None:
    old, new = finished(streams, 90), finished(streams, 90)
    third, fourth = streams.create(""), streams.create("")
    streams.append(third, 0, bytes(90))
    with pytest.raises(NotServed):
        streams.find(old.name)
    assert streams.find(new.name) is new
    streams.append(fourth, 0, bytes(100))
    with pytest.raises(NotServed):
        streams.find(new.name)
    assert streams.size == 190
    fifth = streams.create("")
    with pytest.raises(Unserved, match="max_bytes"):
        streams.append(fifth, 0, bytes(100))
    assert fifth.written == 60
    assert not third.finished


async def test_as_many_logs_are_open_as_may_be(streams: LogStreams) -> None:
    kept = finished(streams, 1)
    made = [streams.create("") for _ in range(4)]
    with pytest.raises(NotServed):
        streams.find(kept.name)
    with pytest.raises(Overloaded, match="max_streams"):
        streams.create("")
    streams.finish(made[0])
    streams.create("")
    assert len(streams) == 4


async def test_finished_logs_are_forgotten_in_time_and_so_are_their_files(
    streams: LogStreams, clock: Clock, tmp_path: Path
) -> None:
    stream = finished(streams, 90)
    async with aclosing(stream.read(0)) as chunks:
        clock.seconds += 9
        assert streams.find(stream.name) is stream
        clock.seconds += 1
        with pytest.raises(NotServed):
            streams.find(stream.name)
        assert list((tmp_path / "logs").iterdir()) == []
        assert streams.size == 0
        with pytest.raises(NotServed):
            await anext(chunks)


async def test_a_log_that_a_client_leaves_open_ends_in_time(
    streams: LogStreams, clock: Clock
) -> None:
    left, used, owned = streams.create(""), streams.create(""), streams.create("", owned=True)
    clock.seconds += IDLE_SECONDS / 2
    streams.append(used, 0, b"x")
    clock.seconds += IDLE_SECONDS / 2
    streams.expire()
    assert [each.finished for each in (left, used, owned)] == [True, False, False]
    assert b"nothing was written" in await whole(left)


async def test_who_reads_a_log_that_is_dropped_reads_it_to_its_end(
    streams: LogStreams, clock: Clock
) -> None:
    stream = streams.create("")
    streams.append(stream, 0, b"one")
    async with aclosing(stream.read(0)) as chunks:
        assert await anext(chunks) == b"one"
        streams.append(stream, 3, b"two")
        streams.finish(stream)
        clock.seconds += 11
        streams.expire()
        assert await anext(chunks) == b"two"


async def test_what_a_killed_server_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "left").write_bytes(b"of another life")
    with log_streams(tmp_path / "logs", LIMITS) as streams:
        assert list((tmp_path / "logs").iterdir()) == []
        streams.append(streams.create(""), 0, b"x")
        assert len(list((tmp_path / "logs").iterdir())) == 1
    assert list((tmp_path / "logs").iterdir()) == []


async def test_a_stop_ends_all_that_is_open(streams: LogStreams) -> None:
    stream = streams.create("")
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(whole(stream))
        await asyncio.sleep(0)
        streams.finish_all()
    assert b"stopping" in reading.result()
