"""A server that is asked for too much says so, and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pytest
from google.longrunning.operations_pb2 import CancelOperationRequest, ListOperationsRequest

from protos import bytestream_pb2, logstream_pb2, logstream_pb2_grpc, remote_execution_pb2 as reapi
from tests.access.callers import Tokens, bearer, calling
from tests.protocol.actions import command, put_action
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, Refusal, attempt, refused, retry_seconds
from tests.protocol.sending import Sender, message
from tests.protocol.test_web import samples
from tests.serving import Served, serving

EXHAUSTED, GONE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE
HEALTH = "/grpc.health.v1.Health/Check"
TRIES = 500
MIB = 1 << 20


@dataclass(frozen=True)
class Bounded:
    served: Served
    tokens: Tokens


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bounded]:
    folder = tmp_path_factory.mktemp("limits")
    tokens = Tokens(folder)
    tokens.add("few", "many")
    settings = (
        "server.drain_seconds = 2\nexecution.no_worker_seconds = 60\n"
        f'[access]\ntokens = "{tokens.file}"\nmetrics = "open"\n'
        '[[access.grants]]\nwho = ["token:few"]\nrights = ["developer"]\n'
        "limits = { calls = 3, executions = 1, open_writes = 2 }\n"
        '[[access.grants]]\nwho = ["token:many"]\nrights = ["admin"]\n'
    )
    with serving(folder / "server", settings) as made:
        yield Bounded(made, tokens)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without access control, which waits for nobody."""
    settings = "server.admission.stall_seconds = 0.4\nserver.admission.stall_bytes = 1000\n"
    with serving(tmp_path_factory.mktemp("impatient"), settings) as made:
        yield made


@pytest.fixture
def few(bounded: Bounded) -> Iterator[Peer]:
    with calling(bounded.served.grpc, bearer(bounded.tokens.by_name["few"])) as made:
        yield made


@pytest.fixture
def many(bounded: Bounded) -> Iterator[Peer]:
    with calling(bounded.served.grpc, bearer(bounded.tokens.by_name["many"])) as made:
        yield made


@pytest.fixture
def peer(impatient: Served) -> Iterator[Peer]:
    with calling(impatient.grpc, None) as made:
        yield made


def until(true: Callable[[], bool]) -> None:
    for _ in range(TRIES):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to that")


def queued(peer: Peer) -> Any:
    """Execute what no worker takes, and wait until it is queued."""
    action = put_action(peer, command("true", platform={"pool": unique().hex()[:8]}))
    call = peer.execution.Execute(peer.execute_request(action), timeout=CALL_SECONDS)
    next(call)
    return call


def test_too_many_executions_of_one_caller_are_refused_and_others_go_on(
    few: Peer, many: Peer
) -> None:
    first = queued(few)
    with refused(EXHAUSTED, naming="1 executions") as caught:
        queued(few)
    assert retry_seconds(caught.value) > 0
    queued(many).cancel()
    for operation in many.operations.ListOperations(ListOperationsRequest()).operations:
        many.operations.CancelOperation(CancelOperationRequest(name=operation.name))
    list(first)
    queued(few).cancel()


def test_too_many_uploads_of_one_caller_are_refused_and_what_is_open_can_be_gone_on_with(
    few: Peer, many: Peer
) -> None:
    blobs = [unique() for _ in range(3)]
    names = [few.write_name(few.digest(data)) for data in blobs]
    for name, data in zip(names[:2], blobs, strict=False):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="stays open"):
            few.write(name, data[:10], finish=False)
    with refused(EXHAUSTED, naming="2 open_writes") as caught:
        few.write(names[2], blobs[2][:10], finish=False)
    assert retry_seconds(caught.value) > 0
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="stays open"):
        many.write(names[2], blobs[2][:10], finish=False)
    for name, data in zip(names, blobs, strict=True):
        assert few.write(name, data[10:], offset=10) == len(data)


def test_too_many_calls_of_one_caller_are_refused_and_health_and_others_are_not(
    bounded: Bounded, few: Peer, many: Peer
) -> None:
    senders = [Sender(few) for _ in range(3)]
    ask = partial(few.capabilities.GetCapabilities, reapi.GetCapabilitiesRequest())
    until(lambda: isinstance(attempt(ask), Refusal))
    with refused(EXHAUSTED, naming="3 calls under way") as caught:
        ask()
    assert retry_seconds(caught.value) > 0
    many.capabilities.GetCapabilities(reapi.GetCapabilitiesRequest())
    health: grpc.UnaryUnaryMultiCallable[bytes, bytes] = few.channel.unary_unary(HEALTH)
    assert health(b"", timeout=CALL_SECONDS)
    for sender in senders:
        sender.call.cancel()
        sender.close()
    until(lambda: not isinstance(attempt(ask), Refusal))
    refusals = [name for name in samples(bounded.served) if name.startswith("holdfast_refusals")]
    assert any('reason="caller_calls"' in name for name in refusals)


def test_who_proves_nothing_has_none_of_the_servers_memory(bounded: Bounded) -> None:
    before = samples(bounded.served)["process_resident_memory_bytes"]
    body = bytes(60 * MIB)
    with calling(bounded.served.grpc, "Bearer holdfast_wrong") as stranger:
        upload: grpc.UnaryUnaryMultiCallable[bytes, bytes] = stranger.channel.unary_unary(
            "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs"
        )
        calls = [upload.future(body, timeout=CALL_SECONDS) for _ in range(8)]
        for call in calls:
            assert call.code() is grpc.StatusCode.UNAUTHENTICATED
    after = samples(bounded.served)["process_resident_memory_bytes"]
    assert after - before < 100 * MIB


def test_an_upload_that_stalls_is_ended_and_can_be_gone_on_with(peer: Peer) -> None:
    data = unique()
    name = peer.write_name(peer.digest(data))
    sender = Sender(peer)
    sender.send(message(name, data[:50]))
    with refused(GONE, naming="server.admission.stall_seconds"):
        sender.committed_size()
    sender.close()
    assert peer.write_status(name).committed_size == 50
    assert peer.write(name, data[50:], offset=50) == len(data)


def test_an_upload_that_never_begins_or_only_drips_is_ended(peer: Peer) -> None:
    silent = Sender(peer)
    with refused(GONE, naming="stall_seconds"):
        silent.committed_size()
    silent.close()
    data = unique() * 100
    name = peer.write_name(peer.digest(data))

    def dripping() -> Iterator[bytestream_pb2.WriteRequest]:
        for at in range(TRIES):
            yield message("" if at else name, b"x", offset=at)
            time.sleep(0.02)

    with refused(GONE, naming="stall_seconds"):
        peer.send(dripping())


def test_a_log_may_be_silent_for_as_long_as_it_likes(peer: Peer) -> None:
    logs = logstream_pb2_grpc.LogStreamServiceStub(peer.channel)
    log = logs.CreateLogStream(logstream_pb2.CreateLogStreamRequest())
    sender = Sender(peer)
    sender.send(message(log.write_resource_name, b"one"))
    time.sleep(1)  # more than stall_seconds
    sender.send(message("", b"two", offset=3, finish=True))
    sender.close()
    assert sender.committed_size() == 6


def test_readers_that_do_not_read_hold_little_and_nothing_is_counted_when_they_are_gone(
    impatient: Served, peer: Peer
) -> None:
    data = bytes(8 * MIB)
    digest = peer.digest(data)
    peer.write(peer.write_name(digest), data)
    request = bytestream_pb2.ReadRequest(resource_name=peer.read_name(digest))
    readers = [peer.stream.Read(request, timeout=CALL_SECONDS) for _ in range(20)]
    for reader in readers:
        next(reader)
    held = samples(impatient)
    assert held["holdfast_calls_in_flight"] == 20
    assert held["holdfast_bytes_in_flight"] <= 20 * (MIB + 1024)
    assert peer.has(digest)
    for reader in readers:
        reader.cancel()
    until(lambda: samples(impatient)["holdfast_calls_in_flight"] == 0)
    assert samples(impatient)["holdfast_bytes_in_flight"] == 0
