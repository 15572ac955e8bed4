from __future__ import annotations

import time

import grpc
import pytest
import zstandard

from protos import bytestream_pb2
from tests.protocol.blobs import ZSTD, unique
from tests.protocol.peer import CALL_SECONDS, Peer, Refusal, attempt, connected, refused
from tests.protocol.sending import Sender, message
from tests.serving import Served

SIZE = 3_000_000


def break_off(peer: Peer, name: str, data: bytes) -> int:
    """Send `data` and cancel the call once the server has some of it; return how much it has.

    Which part of the bytes that were sent is kept is the server's choice.
    """
    sender = Sender(peer)
    sender.send(message(name, data))
    deadline = time.monotonic() + CALL_SECONDS
    committed = 0
    while not committed and time.monotonic() < deadline:
        time.sleep(0.02)
        committed = committed_bytes(peer, name)
    sender.call.cancel()
    sender.close()
    assert committed, "the server never told of a byte that it has"
    return committed_bytes(peer, name)


def committed_bytes(peer: Peer, name: str) -> int:
    status = attempt(lambda: peer.write_status(name))
    if isinstance(status, Refusal):
        assert status.code is grpc.StatusCode.NOT_FOUND, status
        return 0
    return status.committed_size


def test_an_unknown_upload_is_not_found(each: Peer) -> None:
    # REAPI rule: QueryWriteStatus of an upload that never began is NOT_FOUND.
    name = each.write_name(each.digest(unique()))
    with refused(grpc.StatusCode.NOT_FOUND):
        each.write_status(name)


def test_a_finished_upload_is_complete(each: Peer) -> None:
    data = unique()
    name = each.write_name(each.digest(data))
    each.write(name, data)
    status = each.write_status(name)
    assert (status.complete, status.committed_size) == (True, len(data))


def test_an_upload_is_resumed_where_it_broke_off(each: Peer) -> None:
    # REAPI rule: the client goes on from QueryWriteStatus.committed_size under the same name.
    data = unique(SIZE)
    name = each.write_name(each.digest(data))
    committed = break_off(each, name, data[: SIZE // 2])
    assert 0 < committed <= SIZE // 2
    assert each.write(name, data[committed:], offset=committed) == SIZE
    assert each.read(each.digest(data)) == data
    assert each.write_status(name).complete


def test_an_upload_is_resumed_over_another_connection(served: Served, peer: Peer) -> None:
    data = unique(SIZE)
    name = peer.write_name(peer.digest(data))
    with connected(served.grpc) as first:
        committed = break_off(first, name, data[: SIZE // 2])
    assert peer.write(name, data[committed:], offset=committed) == SIZE
    assert peer.read(peer.digest(data)) == data


def test_an_upload_is_resumed_after_its_client_ended_it_without_a_finish(each: Peer) -> None:
    data = unique(SIZE)
    name = each.write_name(each.digest(data))
    answer = attempt(lambda: each.write(name, data[:1000], finish=False))
    assert answer == 1000 or (isinstance(answer, Refusal) and "finish_write" in answer.message)
    assert each.write_status(name).committed_size == 1000
    assert each.write(name, data[1000:], offset=1000) == SIZE
    assert each.read(each.digest(data)) == data


def test_an_upload_starts_again_at_0(each: Peer) -> None:
    # Buck2 rule: a retry begins at offset 0 under the same name, whatever was kept.
    data = unique(SIZE)
    name = each.write_name(each.digest(data))
    break_off(each, name, unique(SIZE // 2))
    assert each.write(name, data) == SIZE
    assert each.read(each.digest(data)) == data


def test_an_offset_beyond_what_is_kept_is_refused(each: Peer) -> None:
    # REAPI rule: a first offset that is not committed_size is an error.
    data = unique(SIZE)
    name = each.write_name(each.digest(data))
    committed = break_off(each, name, data[:1000])
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_offset"):
        each.write(name, data[committed + 1 :], offset=committed + 1)
    assert committed_bytes(each, name) in {0, committed}
    assert not each.has(each.digest(data))


def test_what_is_kept_never_shrinks_while_an_upload_goes_on(peer: Peer) -> None:
    # REAPI rule: committed_size never falls from one answer to the next.
    data = unique(SIZE)
    name = peer.write_name(peer.digest(data))
    sender = Sender(peer)
    seen = []
    for start in range(0, SIZE, SIZE // 10):
        sender.send(
            message(
                name,
                data[start : start + SIZE // 10],
                offset=start,
                finish=start + SIZE // 10 >= SIZE,
            )
        )
        seen.append(committed_bytes(peer, name))
    sender.close()
    assert sender.committed_size() == SIZE
    seen.append(peer.write_status(name).committed_size)
    assert seen == sorted(seen)
    assert seen[-1] == SIZE


def test_a_compressed_upload_is_resumed_at_an_uncompressed_offset(each: Peer) -> None:
    # REAPI rule: the first write_offset counts uncompressed bytes, the next ones add what was sent.
    data = b"".join(b"%d\n" % number for number in range(300_000))
    digest = each.digest(data)
    name = each.write_name(digest, compressor=ZSTD)
    half = zstandard.ZstdCompressor().compressobj()
    packed = half.compress(data[: len(data) // 2]) + half.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    committed = break_off(each, name, packed)
    assert committed <= len(data) // 2
    rest = zstandard.ZstdCompressor().compress(data[committed:])
    cut = len(rest) // 2
    each.send(
        [
            message(name, rest[:cut], offset=committed),
            message(name, rest[cut:], offset=committed + cut, finish=True),
        ]
    )
    assert each.read(digest) == data


def test_the_status_of_a_blob_uploaded_by_somebody_else_lets_the_client_stop(each: Peer) -> None:
    # A client that lost its connection asks after its own uuid; the blob is there all the same.
    data = unique(1000)
    name = each.write_name(each.digest(data))
    break_off(each, name, data[:500])
    each.put_one(data)
    status = each.write_status(name)
    assert status.complete
    assert status.committed_size == len(data)


@pytest.mark.parametrize(
    "name", ["", "uploads", "blobs/x/1", "uploads/x/blobs/y/z", "nonsense", "\0"]
)
def test_the_status_of_a_malformed_name_is_refused(peer: Peer, name: str) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="resource_name"):
        peer.write_status(name)


def test_the_header_of_a_status_has_to_agree(peer: Peer) -> None:
    # REAPI rule: the header, if it is there, equals the request's resource_name.
    name = peer.write_name(peer.digest(unique()))
    request = bytestream_pb2.QueryWriteStatusRequest(resource_name=name)
    header = ("build.bazel.remote.execution.v2.resource-name", name + "0")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="resource"):
        peer.stream.QueryWriteStatus(request, timeout=CALL_SECONDS, metadata=(header,))
