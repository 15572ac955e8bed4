from __future__ import annotations

from functools import partial

import grpc
import pytest

from tests.protocol.actions import command, put_action
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, Refusal, attempt, refused, retry_seconds
from tests.protocol.sending import Sender, message

SETTINGS = """
server.drain_seconds = 2
server.max_open_writes = 3
execution.max_queued = 2
execution.no_worker_seconds = 30
worker.slots = 1
"""


def test_a_full_queue_refuses_before_anything_is_answered_and_says_when_to_return(
    peer: Peer,
) -> None:
    # Buck2 rule: it retries RESOURCE_EXHAUSTED only where it comes instead of the first answer.
    # REAPI rule: any error may carry RetryInfo.
    actions = [put_action(peer, command("true", platform={"pool": "none"})) for _ in range(3)]
    calls = [
        peer.execution.Execute(peer.execute_request(action), timeout=CALL_SECONDS)
        for action in actions[:2]
    ]
    for call in calls:
        next(call)
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, naming="max_queued") as caught:
        next(peer.execution.Execute(peer.execute_request(actions[2]), timeout=CALL_SECONDS))
    assert retry_seconds(caught.value) > 0
    for call in calls:
        call.cancel()


def test_too_many_open_uploads_are_refused_and_the_open_ones_go_on(peer: Peer) -> None:
    blobs = [unique() for _ in range(3)]
    names = [peer.write_name(peer.digest(data)) for data in blobs]
    senders = [Sender(peer) for _ in blobs]
    for sender, name, data in zip(senders, names, blobs, strict=True):
        sender.send(message(name, data[:50]))
        while isinstance(attempt(partial(peer.write_status, name)), Refusal):
            pass
    other = unique()
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, naming="max_open_writes") as caught:
        peer.write(peer.write_name(peer.digest(other)), other[:50], finish=False)
    assert retry_seconds(caught.value) > 0
    for sender, name, data in zip(senders, names, blobs, strict=True):
        sender.send(message(name, data[50:], offset=50, finish=True))
        sender.close()
        assert sender.committed_size() == len(data)
    assert peer.write(peer.write_name(peer.digest(other)), other) == len(other)


@pytest.mark.parametrize("count", [20])
def test_abandoned_uploads_do_not_use_up_the_places_for_ever(peer: Peer, count: int) -> None:
    for _ in range(count):
        data = unique()
        sender = Sender(peer)
        sender.send(message(peer.write_name(peer.digest(data)), data[:10]))
        sender.call.cancel()
        sender.close()
    data = unique()
    assert peer.write(peer.write_name(peer.digest(data)), data) == len(data)
