from __future__ import annotations

import grpc
import pytest

from protos import bytestream_pb2, logstream_pb2, logstream_pb2_grpc
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, refused, retry_seconds
from tests.protocol.sending import Sender, message

SETTINGS = """
server.drain_seconds = 2
execution.enabled = false
worker.enabled = false
logs.max_stream_bytes = 4_000_000
logs.max_streams = 50

[instances.""]
[instances."a/b"]
"""


def created(peer: Peer, parent: str = "") -> logstream_pb2.LogStream:
    request = logstream_pb2.CreateLogStreamRequest(parent=parent)
    stub = logstream_pb2_grpc.LogStreamServiceStub(peer.channel)
    return stub.CreateLogStream(request, timeout=CALL_SECONDS)


def read(peer: Peer, stream: logstream_pb2.LogStream, offset: int = 0, limit: int = 0) -> bytes:
    return b"".join(peer.pieces(stream.name, offset=offset, limit=limit))


@pytest.mark.parametrize("parent", ["", "a/b"])
def test_what_is_written_in_several_calls_is_read_as_one(peer: Peer, parent: str) -> None:
    stream = created(peer, parent)
    data = unique(3_000_000)
    assert peer.write(stream.write_resource_name, data[:2_500_000], finish=False) == 2_500_000
    status = peer.write_status(stream.write_resource_name)
    assert (status.committed_size, status.complete) == (2_500_000, False)
    assert peer.write(stream.write_resource_name, data[2_500_000:], offset=2_500_000) == len(data)
    status = peer.write_status(stream.write_resource_name)
    assert (status.committed_size, status.complete) == (len(data), True)
    assert read(peer, stream) == data
    assert read(peer, stream, 2_999_990) == data[2_999_990:]
    assert read(peer, stream, 10, 20) == data[10:30]
    assert read(peer, stream, len(data)) == b""


def test_a_reader_sees_each_part_before_the_next_is_written(peer: Peer) -> None:
    # REAPI rule: a read of a log that is not finished stays open, and bytes come as they are there.
    stream = created(peer)
    readers = [peer.pieces(stream.name) for _ in range(3)]
    sender = Sender(peer)
    offset = 0
    for part in (b"one\n", b"two\n", b"three\n"):
        sender.send(message(stream.write_resource_name, part, offset=offset))
        offset += len(part)
        assert [next(reader) for reader in readers] == [part] * 3
    limited = peer.pieces(stream.name, limit=5)
    assert b"".join(limited) == b"one\nt"
    sender.send(message(stream.write_resource_name, offset=offset, finish=True))
    sender.close()
    assert [list(reader) for reader in readers] == [[], [], []]
    assert sender.committed_size() == offset


def test_a_reader_that_goes_away_disturbs_nobody(peer: Peer) -> None:
    stream = created(peer)
    peer.write(stream.write_resource_name, b"one", finish=False)
    request = bytestream_pb2.ReadRequest(resource_name=stream.name)
    gone, stays = peer.stream.Read(request, timeout=CALL_SECONDS), peer.pieces(stream.name)
    assert (next(gone).data, next(stays)) == (b"one", b"one")
    gone.cancel()
    peer.write(stream.write_resource_name, b"two", offset=3)
    assert list(stays) == [b"two"]


def test_committed_bytes_stay_and_nothing_follows_the_end(peer: Peer) -> None:
    # REAPI rule: committed bytes cannot be overwritten; a finalised log cannot be appended to.
    stream = created(peer)
    name = stream.write_resource_name
    peer.write(name, b"one", finish=False)
    for offset in (0, 2, 4):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="3 bytes"):
            peer.write(name, b"x", offset=offset)
    peer.write(name, b"", offset=3)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, naming="finished"):
        peer.write(name, b"x", offset=3)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_offset"):
        peer.send([message(created(peer).write_resource_name, b"x"), message("", b"y", offset=5)])
    assert read(peer, stream) == b"one"


def test_each_name_is_for_one_thing_alone(peer: Peer) -> None:
    # REAPI rule: writing to `name` and reading `write_resource_name` are errors.
    stream = created(peer)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_resource_name"):
        peer.write(stream.name, b"x")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="token"):
        list(peer.pieces(stream.write_resource_name))
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.write(f"{stream.name}/{'0' * 32}", b"x")


def test_what_is_not_there_is_not_found(peer: Peer) -> None:
    for name in ("logstreams/none", "a/b/logstreams/none"):
        with refused(grpc.StatusCode.NOT_FOUND, naming="no such log"):
            list(peer.pieces(name))
        with refused(grpc.StatusCode.NOT_FOUND, naming="no such log"):
            peer.write(f"{name}/token", b"x")
        with refused(grpc.StatusCode.NOT_FOUND, naming="no such log"):
            peer.write_status(f"{name}/token")
    with refused(grpc.StatusCode.NOT_FOUND):
        created(peer, "other")


def test_offsets_and_limits_outside_are_refused(peer: Peer) -> None:
    stream = created(peer)
    peer.write(stream.write_resource_name, b"one", finish=False)
    for offset in (-1, 4):
        with refused(grpc.StatusCode.OUT_OF_RANGE, naming="read_offset"):
            read(peer, stream, offset)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="read_limit"):
        read(peer, stream, 0, -1)


def test_a_log_over_its_bound_is_cut_and_says_so(peer: Peer) -> None:
    stream = created(peer)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, naming="max_stream_bytes"):
        peer.write(stream.write_resource_name, bytes(5_000_000))
    said = read(peer, stream)
    assert said[:4_000_000] == bytes(4_000_000)
    assert b"logs.max_stream_bytes" in said[4_000_000:]
    assert peer.write_status(stream.write_resource_name).complete


def test_too_many_open_logs_are_refused_and_say_when_to_return(peer: Peer) -> None:
    made: list[logstream_pb2.LogStream] = []
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, naming="max_streams") as caught:
        made.extend(created(peer) for _ in range(51))
    assert retry_seconds(caught.value) > 0
    for stream in made:
        peer.write(stream.write_resource_name, b"")
