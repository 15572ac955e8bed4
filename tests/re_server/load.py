"""Clients that load a server until it goes away, and remember what it has acknowledged."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import zstandard

from protos import admin_pb2, admin_pb2_grpc, remote_execution_pb2 as reapi
from tests.protocol.actions import put_script
from tests.protocol.blobs import ZSTD
from tests.protocol.peer import CALL_SECONDS, Peer, connected

SMALL_BYTES = [1, 100, 999, 1000, 1001, 5000]  # about `store.inline_bytes = 1000`
FILE_BYTES = [30_000, 300_000, 1_500_000]
BATCH = 20
ACTIONS_AT_ONCE = 3  # results that are given to one action, which keeps the first
CLIENTS = 2  # of each kind
READ_BYTES = 3_000_000  # of blobs in one batch
RANDOM = "cat /proc/sys/kernel/random/uuid | tee out"

Key = tuple[str, int]


@dataclass
class Acknowledged:
    """What a server has said to have. blobs, results: in the order of acknowledgement.

    results: by action, the digest of its output. faults: what no server may say.
    """

    blobs: list[reapi.Digest] = field(default_factory=list)
    results: dict[Key, reapi.Digest] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    first: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *blobs: reapi.Digest) -> None:
        with self._lock:
            self.blobs += blobs
        self.first.set()

    def settle(self, action: reapi.Digest, output: reapi.Digest) -> None:
        """Note the result that was answered for `action`, which is to be the one for ever."""
        with self._lock:
            known = self.results.setdefault(_key(action), output)
            self.blobs += [action, output]
        if known != output:
            self.faults.append(f"{action.hash} was answered {known.hash}, then {output.hash}")


def _key(digest: reapi.Digest) -> Key:
    return digest.hash, digest.size_bytes


Work = Callable[[Peer, Acknowledged, random.Random], None]


def upload_batch(peer: Peer, told: Acknowledged, chance: random.Random) -> None:
    told.add(*peer.put(*(chance.randbytes(chance.choice(SMALL_BYTES)) for _ in range(BATCH))))


def upload_file(peer: Peer, told: Acknowledged, chance: random.Random) -> None:
    data = chance.randbytes(chance.choice(FILE_BYTES))
    digest = peer.digest(data)
    if chance.random() < 0.5:
        assert peer.write(peer.write_name(digest), data) == len(data)
    else:
        packed = zstandard.ZstdCompressor().compress(data)
        assert peer.write(peer.write_name(digest, compressor=ZSTD), packed) == len(packed)
    told.add(digest)


def upload_results(peer: Peer, told: Acknowledged, chance: random.Random) -> None:
    """Upload results of one action that differ."""
    action = put_script(peer, "true")
    for _ in range(ACTIONS_AT_ONCE):
        result = reapi.ActionResult()
        data = chance.randbytes(chance.choice([100, 5000]))
        result.output_files.add(path="out", digest=peer.put_one(data))
        told.settle(action, peer.update_result(action, result).output_files[0].digest)


def execute(peer: Peer, told: Acknowledged, chance: random.Random) -> None:
    action = put_script(peer, RANDOM, "out")
    result = peer.execute(action).result
    assert result.exit_code == 0
    told.settle(action, result.output_files[0].digest)
    told.add(result.stdout_digest)


WORK: list[Work] = [upload_batch, upload_file, upload_results, execute]


def _work_on(address: str, work: Work, told: Acknowledged) -> None:
    """Work until the server is gone."""
    chance = random.Random()
    with connected(address) as peer:
        try:
            while True:
                work(peer, told, chance)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                told.faults.append(f"{work.__name__}: {error.code()}: {error.details()}")
        except AssertionError as error:
            told.faults.append(f"{work.__name__}: {error}")


@contextmanager
def loaded(address: str, told: Acknowledged) -> Iterator[None]:
    """Load the server at `address`; the block has to end it."""
    clients = [
        threading.Thread(target=_work_on, args=(address, work, told))
        for work in WORK
        for _ in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.join(CALL_SECONDS)
    assert not any(client.is_alive() for client in clients)


def check_blobs(peer: Peer, blobs: list[reapi.Digest]) -> None:
    """Fail unless each of `blobs` is there and is what it is called."""
    assert peer.find_missing(*blobs) == []
    batch: list[reapi.Digest] = []
    for digest in blobs:
        if digest.size_bytes > READ_BYTES // 10:
            assert peer.digest(peer.read(digest)) == digest
            continue
        batch.append(digest)
        if sum(each.size_bytes for each in batch) > READ_BYTES * 9 // 10:
            _check_batch(peer, batch)
            batch = []
    _check_batch(peer, batch)


def _check_batch(peer: Peer, batch: list[reapi.Digest]) -> None:
    entries = peer.batch_read(*batch)
    assert {_key(entry.digest) for entry in entries} == {_key(asked) for asked in batch}
    for entry in entries:
        assert entry.status.code == 0, entry.status
        assert peer.digest(entry.data) == entry.digest


def check_results(peer: Peer, results: dict[Key, reapi.Digest]) -> None:
    """Fail unless each of `results` is a hit and is pinned, and is the one that was answered."""
    admin = admin_pb2_grpc.AdminStub(peer.channel)
    for (hash, size), output in results.items():
        action = reapi.Digest(hash=hash, size_bytes=size)
        assert peer.get_result(action).output_files[0].digest == output
        pin = admin.GetPin(admin_pb2.GetPinRequest(action_digest=action), timeout=CALL_SECONDS)
        assert pin.result.output_files[0].digest == output
        assert pin.revision == 1


def quarantined(peer: Peer) -> int:
    admin = admin_pb2_grpc.AdminStub(peer.channel)
    return admin.GetStatus(admin_pb2.GetStatusRequest()).store.quarantined_blobs
