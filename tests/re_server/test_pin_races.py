"""Many results of one action at one time: one of them is pinned, and everybody is answered it."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from protos import admin_pb2, remote_execution_pb2 as reapi
from protos.admin_pb2_grpc import AdminStub
from tests.protocol.actions import put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, connected
from tests.serving import serving

RIVALS = 64
ROUNDS = 5
SETTINGS = "worker.enabled = false\n"


@dataclass
class Answers:
    """What the rivals were answered, serialised, and whoever was not. enough: set at `wanted`."""

    wanted: int = RIVALS
    given: list[bytes] = field(default_factory=list)
    failed: list[grpc.StatusCode] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answer: bytes) -> None:
        with self._lock:
            self.given.append(answer)
            if len(self.given) >= self.wanted:
                self.enough.set()


def rivals(peer: Peer) -> list[reapi.ActionResult]:
    """Upload the outputs of different runs of one action; return their results."""
    results = []
    for number in range(RIVALS):
        data = unique()
        digest, said = peer.put(data, b"run %d " % number + data)
        result = reapi.ActionResult(stdout_digest=said)
        result.output_files.add(path="out", digest=digest)
        result.execution_metadata.worker = f"worker {number}"
        results.append(result)
    return results


def race(
    address: str, action: reapi.Digest, results: Sequence[reapi.ActionResult], answers: Answers
) -> list[threading.Thread]:
    """Begin to upload all `results` for `action`, each over a connection of its own."""
    begin = threading.Barrier(len(results))

    def upload(result: reapi.ActionResult) -> None:
        with connected(address) as peer:
            grpc.channel_ready_future(peer.channel).result(CALL_SECONDS)
            begin.wait(CALL_SECONDS)
            try:
                answer = peer.update_result(action, result)
            except grpc.RpcError as error:
                answers.failed.append(error.code())
            else:
                answers.add(answer.SerializeToString(deterministic=True))

    threads = [threading.Thread(target=upload, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    return threads


def pin_of(peer: Peer, action: reapi.Digest) -> admin_pb2.Pin:
    request = admin_pb2.GetPinRequest(action_digest=action)
    return AdminStub(peer.channel).GetPin(request, timeout=CALL_SECONDS)


def pinned(peer: Peer, action: reapi.Digest) -> bytes:
    pin = pin_of(peer, action)
    assert pin.revision == 1
    assert peer.get_result(action) == pin.result
    return pin.result.SerializeToString(deterministic=True)


def pins(peer: Peer) -> int:
    status = AdminStub(peer.channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=CALL_SECONDS)
    return status.pins.pins


def test_of_many_uploads_at_once_one_is_pinned_and_all_are_answered_it(tmp_path: Path) -> None:
    # Policy: the first result wins, atomically.
    with serving(tmp_path, SETTINGS) as server, connected(server.grpc) as peer:
        for number in range(1, ROUNDS + 1):
            action, results, answers = put_script(peer, "true"), rivals(peer), Answers()
            for thread in race(server.grpc, action, results, answers):
                thread.join(CALL_SECONDS)
            assert answers.failed == []
            assert len(answers.given) == RIVALS
            assert set(answers.given) == {pinned(peer, action)}
            assert pin_of(peer, action).conflicts == RIVALS - 1
            assert pins(peer) == number


@pytest.mark.timeout(240)
def test_a_server_killed_in_the_race_comes_back_with_one_pin_that_all_were_answered(
    tmp_path: Path,
) -> None:
    chance = random.Random()
    interrupted = 0
    for _ in range(ROUNDS):
        answers = Answers(wanted=chance.randrange(1, RIVALS // 4))
        with serving(tmp_path, SETTINGS) as server:
            with connected(server.grpc) as peer:
                action, results = put_script(peer, "true"), rivals(peer)
            threads = race(server.grpc, action, results, answers)
            assert answers.enough.wait(CALL_SECONDS)
            server.kill()
            for thread in threads:
                thread.join(CALL_SECONDS)
        assert set(answers.failed) <= {grpc.StatusCode.UNAVAILABLE}
        interrupted += bool(answers.failed)
        with serving(tmp_path, SETTINGS) as server, connected(server.grpc) as peer:
            assert set(answers.given) == {pinned(peer, action)}
            later = Answers()
            for thread in race(server.grpc, action, results, later):
                thread.join(CALL_SECONDS)
            assert set(later.given) == set(answers.given)
            assert len(later.given) == RIVALS
            assert pinned(peer, action) == answers.given[0]
    assert interrupted
