"""A server whose disk is full: uploads are refused with the time to come back, nothing is harmed.

Needs the right to mount a tmpfs, as tests/cas/test_disk_full.py does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import grpc
import pytest
from google.rpc.code_pb2 import RESOURCE_EXHAUSTED
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from protos import admin_pb2, admin_pb2_grpc, remote_execution_pb2 as reapi
from tests.protocol.actions import put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Peer, connected, refused, retry_seconds
from tests.re_server.load import check_blobs
from tests.serving import Served, serving

FILE_BYTES = 100_000
SETTINGS = "store.inline_bytes = 4096\n"


@pytest.fixture
def served(small_disk: Path, tmp_path: Path) -> Iterator[Served]:
    """Serve from a store on a disk of 8 MiB; the worker's folder is elsewhere."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "store").symlink_to(small_disk)
    with serving(folder, SETTINGS) as server:
        yield server


@pytest.fixture
def peer(served: Served) -> Iterator[Peer]:
    with connected(served.grpc) as made:
        yield made


def update(peer: Peer, data: bytes) -> Status:
    """Upload one blob in a batch; return its own status."""
    request = reapi.BatchUpdateBlobsRequest(digest_function=peer.function)
    request.requests.add(digest=peer.digest(data), data=data)
    (entry,) = peer.cas.BatchUpdateBlobs(request, timeout=CALL_SECONDS).responses
    return entry.status


def retry_info(status: Status) -> float:
    for detail in status.details:
        info = RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    raise AssertionError(status)


def fill(peer: Peer, size: int) -> tuple[list[reapi.Digest], Status]:
    """Upload until a blob is refused; return those that were taken, and its status."""
    taken: list[reapi.Digest] = []
    for _ in count():
        status = update(peer, data := unique(size))
        if status.code:
            return taken, status
        taken.append(peer.digest(data))
    raise AssertionError


def fill_wholly(peer: Peer) -> tuple[list[reapi.Digest], Status]:
    """As `fill`, with files and then with blobs that live in the index."""
    taken, _ = fill(peer, FILE_BYTES)
    more, status = fill(peer, 4000)
    return taken + more, status


def test_uploads_are_refused_and_what_is_there_stays(served: Served, peer: Peer) -> None:
    taken, status = fill_wholly(peer)
    assert len(taken) > 20
    assert status.code == RESOURCE_EXHAUSTED
    assert retry_info(status) > 0
    data = unique(FILE_BYTES * 5)
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED) as caught:
        peer.write(peer.write_name(peer.digest(data)), data)
    assert retry_seconds(caught.value) > 0
    assert peer.find_missing(peer.digest(data)) == [peer.digest(data)]
    check_blobs(peer, taken)
    admin = admin_pb2_grpc.AdminStub(peer.channel)
    store = admin.GetStatus(admin_pb2.GetStatusRequest(), timeout=CALL_SECONDS).store
    assert store.blobs == len(taken)
    assert store.quarantined_blobs == 0


def fill_with_zeros(file: Path) -> None:
    """Take all that is left of a disk, as another program might; raise OSError then."""
    with file.open("wb", buffering=0) as taking:
        while True:
            taking.write(bytes(4096))


def test_there_is_room_again_after_others_have_made_some(
    small_disk: Path, served: Served, peer: Peer
) -> None:
    before = [peer.put_one(unique(size)) for size in (100, 4000, FILE_BYTES)]
    stranger = small_disk / "stranger"
    with pytest.raises(OSError, match="No space left"):
        fill_with_zeros(stranger)
    assert update(peer, unique(FILE_BYTES)).code == RESOURCE_EXHAUSTED
    stranger.unlink()
    after = [peer.put_one(unique(size)) for size in (100, 4000, FILE_BYTES)]
    check_blobs(peer, before + after)


def test_an_action_whose_outputs_find_no_room_is_told_so_and_is_not_cached(
    served: Served, peer: Peer
) -> None:
    action = put_script(peer, "head -c 3000000 /dev/urandom > out", "out")
    taken, _ = fill(peer, FILE_BYTES)
    response = peer.execute(action).response
    assert response.status.code == RESOURCE_EXHAUSTED, response.status
    assert retry_info(response.status) > 0
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(action)
    check_blobs(peer, taken)


def test_a_full_server_stops_and_starts_and_has_all_that_it_took(
    small_disk: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "store").symlink_to(small_disk)
    with serving(folder, SETTINGS) as server:
        with connected(server.grpc) as peer:
            taken, _ = fill(peer, FILE_BYTES)
        assert server.stop() == 0
    with serving(folder, SETTINGS) as server, connected(server.grpc) as peer:
        check_blobs(peer, taken)
        assert update(peer, unique(FILE_BYTES)).code == RESOURCE_EXHAUSTED
