"""Blobs of a pin are evicted, and its action runs again: what becomes of the pin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from protos import admin_pb2, remote_execution_pb2 as reapi
from protos.admin_pb2_grpc import AdminStub
from tests.protocol.actions import command, put_action
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, connected, refused
from tests.serving import serving

SETTINGS = """
store.upload_lease_seconds = 0.001
store.lease_seconds = 0.001
"""
LARGE = 100_000  # bytes of what has a file of its own in the store
RANDOM = "cat /proc/sys/kernel/random/uuid > out"


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    with serving(tmp_path, SETTINGS) as server, connected(server.grpc) as made:
        yield made


def collect(peer: Peer, *, to: int = 0) -> admin_pb2.CollectGarbageResponse:
    """Evict down to `to` bytes, once the leases of what is there have ended."""
    time.sleep(1.1)  # a lease ends with a whole second
    request = admin_pb2.CollectGarbageRequest(target_bytes=to)
    return AdminStub(peer.channel).CollectGarbage(request, timeout=CALL_SECONDS)


def pin_of(peer: Peer, action: reapi.Digest) -> admin_pb2.Pin:
    request = admin_pb2.GetPinRequest(action_digest=action)
    return AdminStub(peer.channel).GetPin(request, timeout=CALL_SECONDS)


def update(peer: Peer, salt: bytes, *outputs: bytes, worker: str = "w") -> reapi.Digest:
    """Upload the action of `salt` with a result that has `outputs`; return its digest."""
    action = put_action(peer, command("true", outputs=["out0", "out1"]), salt=salt)
    result = reapi.ActionResult()
    for number, digest in enumerate(peer.put(*outputs)):
        result.output_files.add(path=f"out{number}", digest=digest)
    result.execution_metadata.worker = worker
    peer.update_result(action, result)
    return action


def test_the_same_bytes_heal_a_pin_whose_blobs_were_evicted(peer: Peer) -> None:
    salt, outputs = unique(), (unique(), unique(LARGE))
    action = update(peer, salt, *outputs, worker="first")
    first = pin_of(peer, action)
    gone = collect(peer)
    assert gone.dropped_results == 1
    assert len(peer.find_missing(*map(peer.digest, outputs))) == len(outputs)
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(action)
    assert pin_of(peer, action) == first
    assert update(peer, salt, *outputs, worker="second") == action
    healed = pin_of(peer, action)
    assert (healed.revision, healed.agreements, healed.conflicts, healed.losses) == (1, 1, 0, 0)
    assert (healed.result, healed.pinned) == (first.result, first.pinned)
    assert peer.get_result(action) == first.result
    assert [peer.read(each.digest) for each in first.result.output_files] == list(outputs)


def test_other_bytes_make_a_new_revision_that_is_recorded(peer: Peer) -> None:
    salt = unique()
    action = update(peer, salt, unique(), unique(LARGE))
    first = pin_of(peer, action)
    collect(peer)
    update(peer, salt, unique(), unique(LARGE))
    second = pin_of(peer, action)
    assert second.result != first.result
    assert (second.revision, second.conflicts, second.losses) == (2, 1, 1)
    assert second.pinned.ToNanoseconds() > first.pinned.ToNanoseconds()
    assert peer.get_result(action) == second.result
    update(peer, salt, unique(), unique(LARGE))
    third = pin_of(peer, action)
    assert (third.result, third.revision, third.conflicts) == (second.result, 2, 2)


def test_the_action_itself_is_run_again_and_its_pin_is_superseded(peer: Peer) -> None:
    salt = unique()

    def run() -> reapi.ActionResult:
        return peer.execute(put_action(peer, command(RANDOM, outputs=["out"]), salt=salt)).result

    first = run()
    action = put_action(peer, command(RANDOM, outputs=["out"]), salt=salt)
    assert peer.get_result(action) == first
    collect(peer)
    second = run()
    assert second.output_files[0].digest != first.output_files[0].digest
    pin = pin_of(peer, action)
    assert (pin.result, pin.revision, pin.losses) == (second, 2, 1)


def test_the_pins_that_no_run_gives_again_are_evicted_last(peer: Peer) -> None:
    flaky, salt = unique(LARGE), unique()
    action = update(peer, salt, flaky)
    pinned = peer.get_result(action)
    update(peer, salt, unique())
    assert pin_of(peer, action).conflicts == 1
    time.sleep(1.1)
    steady = [update(peer, unique(), unique(LARGE)) for _ in range(3)]
    gone = collect(peer, to=LARGE)
    assert gone.dropped_results == len(steady)
    assert peer.get_result(action) == pinned
    assert peer.read(pinned.output_files[0].digest) == flaky
    for each in steady:
        with refused(grpc.StatusCode.NOT_FOUND):
            peer.get_result(each)
