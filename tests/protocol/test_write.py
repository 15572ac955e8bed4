from __future__ import annotations

import threading

import grpc
import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.blobs import read_name, unique
from tests.protocol.peer import CALL_SECONDS, Peer, Refusal, attempt, refused, write_requests
from tests.protocol.sending import STEP_BYTES, Sender, message

NAME_HEADER = "build.bazel.remote.execution.v2.resource-name"


def test_a_new_blob_is_committed_whole(each: Peer) -> None:
    data = unique(2_500_000)
    digest = each.digest(data)
    assert each.write(each.write_name(digest), data) == len(data)
    assert each.read(digest) == data


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_pieces_of_any_size_make_the_blob(peer: Peer, pieces: int) -> None:
    data = unique(7000)
    name = peer.write_name(peer.digest(data))
    step = len(data) // pieces
    sent = [
        message(
            name,
            data[start : start + step],
            offset=start,
            finish=start + step >= len(data),
        )
        for start in range(0, len(data), step)
    ]
    assert peer.send(sent) == 7000
    assert peer.read(peer.digest(data)) == data


def test_empty_pieces_and_an_empty_end_are_fine(each: Peer) -> None:
    data = unique(10)
    name = each.write_name(each.digest(data))
    sent = [
        message(name),
        message(name, data[:4]),
        message(name, offset=4),
        message(name, data[4:], offset=4),
        message(name, offset=10, finish=True),
    ]
    assert each.send(sent) == 10
    assert each.read(each.digest(data)) == data


def test_the_name_may_be_left_out_after_the_first_message(each: Peer) -> None:
    # REAPI rule: resource_name is required in the first message, and may be empty afterwards.
    data = unique(10)
    name = each.write_name(each.digest(data))
    assert each.send([message(name, data[:5]), message("", data[5:], offset=5, finish=True)]) == 10


def test_the_empty_blob_can_be_written(each: Peer) -> None:
    # REAPI rule: empty blobs are always available, so the upload ends at once.
    name = each.write_name(each.digest(b""))
    assert each.send([message(name, finish=True)]) == 0


def test_metadata_behind_the_size_is_ignored(each: Peer) -> None:
    # REAPI rule: an upload's name may go on after the size with what the client likes.
    data = unique()
    name = each.write_name(each.digest(data)) + "/src/blobs/main.c/7"
    assert each.write(name, data) == len(data)
    assert each.read(each.digest(data)) == data


def test_one_uuid_may_serve_for_several_blobs(peer: Peer) -> None:
    # REAPI rule: clients may use a uuid again for other blobs.
    identity = "7f3b6bd9-6a3b-4d38-9e13-2d3ad1a52a6a"
    for data in (unique(), unique()):
        name = peer.write_name(peer.digest(data), identity=identity)
        assert peer.write(name, data) == len(data)


def test_a_blob_that_is_there_ends_its_upload_with_its_full_size(each: Peer) -> None:
    # REAPI rule: committed_size is the full size, however little was sent.
    data = unique(5_000_000)
    digest = each.digest(data)
    each.write(each.write_name(digest), data)
    assert each.write(each.write_name(digest), data) == len(data)
    assert each.send([message(each.write_name(digest), data[:10])]) == len(data)


def test_an_upload_ends_when_another_client_has_finished_the_same_blob(each: Peer) -> None:
    # REAPI rule: also in the middle of an upload, without error and with the full size.
    data = unique(4_000_000)
    digest = each.digest(data)
    slow = Sender(each)
    name = each.write_name(digest)
    slow.send(message(name, data[:STEP_BYTES]))
    assert each.write(each.write_name(digest), data) == len(data)
    for start in range(STEP_BYTES, 3_000_000, STEP_BYTES):
        slow.send(message(name, data[start : start + STEP_BYTES], offset=start))
    assert slow.committed_size() == len(data)
    slow.close()
    assert each.read(digest) == data


def test_many_uploads_of_one_blob_at_a_time_all_succeed(each: Peer) -> None:
    # REAPI rule: uploads of the same data may be concurrent.
    data = unique(3_000_000)
    digest = each.digest(data)
    calls = [
        each.stream.Write.future(
            write_requests(each.write_name(digest), data), timeout=CALL_SECONDS
        )
        for _ in range(8)
    ]
    assert {call.result().committed_size for call in calls} == {len(data)}
    assert each.read(digest) == data


@pytest.mark.parametrize("change", ["other bytes", "too short", "too long", "nothing"])
def test_bytes_that_are_not_the_digests_are_refused_and_not_kept(each: Peer, change: str) -> None:
    # REAPI rule: a digest that does not match is INVALID_ARGUMENT, which no client tries again.
    data = unique(2_000_000)
    digest = each.digest(data)
    sent = {
        "other bytes": data[:-1] + bytes([data[-1] ^ 1]),
        "too short": data[:-1],
        "too long": data + b"x",
        "nothing": b"",
    }[change]
    name = each.write_name(digest)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=digest.hash):
        each.write(name, sent)
    assert not each.has(digest)
    with refused(grpc.StatusCode.NOT_FOUND):
        each.read(digest)
    assert each.write(name, data) == len(data)  # the same name is good for another attempt
    assert each.read(digest) == data


def test_far_too_many_bytes_are_refused_before_the_last(peer: Peer) -> None:
    digest = peer.digest(unique(10))
    name = peer.write_name(digest)
    endless = Sender(peer)
    endless.send(message(name, unique(1000)))
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        endless.committed_size()
    endless.close()


@pytest.mark.parametrize("offset", [1, 5, 9, 11, -1, 1 << 40])
def test_an_offset_in_the_middle_that_does_not_follow_is_refused(each: Peer, offset: int) -> None:
    # REAPI rule: every message's write_offset is the sum of what was sent before.
    data = unique(20)
    name = each.write_name(each.digest(data))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_offset"):
        each.send([message(name, data[:10]), message(name, data[10:], offset=offset, finish=True)])
    assert not each.has(each.digest(data))


@pytest.mark.parametrize("offset", [1, -1, 100, 1 << 62])
def test_an_upload_that_does_not_begin_at_its_beginning_is_refused(each: Peer, offset: int) -> None:
    # REAPI rule: the first offset is what QueryWriteStatus would tell, which is 0 here.
    data = unique(100)
    name = each.write_name(each.digest(data))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="write_offset"):
        each.send([message(name, data[1:], offset=offset, finish=True)])
    assert not each.has(each.digest(data))


def test_a_name_that_changes_in_the_middle_is_refused(each: Peer) -> None:
    # REAPI rule: resource_name may be repeated, and is the same in all messages.
    data = unique(20)
    digest = each.digest(data)
    sent = [
        message(each.write_name(digest), data[:10]),
        message(each.write_name(digest), data[10:], offset=10, finish=True),
    ]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="resource_name"):
        each.send(sent)
    assert not each.has(digest)


def test_data_after_the_finish_is_refused(peer: Peer) -> None:
    # REAPI rule: any message after the one with finish_write is an error.
    data = unique(20)
    name = peer.write_name(peer.digest(data))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="finish_write"):
        peer.send([message(name, data, finish=True), message(name, b"more", offset=20)])


def test_without_a_finish_there_is_no_blob(each: Peer) -> None:
    # REAPI rule: an upload is complete only once finish_write was sent.
    data = unique(20)
    name = each.write_name(each.digest(data))
    answer = attempt(lambda: each.send([message(name, data)]))
    if isinstance(answer, Refusal):
        assert "finish_write" in answer.message
    else:
        assert answer == 20
    assert not each.has(each.digest(data))
    assert not each.write_status(name).complete


def test_a_stream_without_messages_is_refused(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        peer.send([])


def test_a_first_message_without_a_name_is_refused(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="resource_name"):
        peer.send([message("", b"data", finish=True)])


def test_the_resource_name_header_has_to_agree(peer: Peer) -> None:
    # REAPI rule: the header, if it is there, equals the request's resource_name.
    data = unique()
    name = peer.write_name(peer.digest(data))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="resource"):
        peer.stream.Write(
            write_requests(name, data),
            timeout=CALL_SECONDS,
            metadata=((NAME_HEADER, peer.write_name(peer.digest(data))),),
        )
    response = peer.stream.Write(
        write_requests(name, data), timeout=CALL_SECONDS, metadata=((NAME_HEADER, name),)
    )
    assert response.committed_size == len(data)


def test_a_single_message_of_four_million_bytes_is_accepted(peer: Peer) -> None:
    # Buck2 rule: segments are as large as the announced batch limit.
    data = unique(4_000_000)
    name = peer.write_name(peer.digest(data))
    assert peer.send([message(name, data, finish=True)]) == len(data)


def test_a_size_that_cannot_be_held_is_refused(peer: Peer) -> None:
    # REAPI rule: a blob over max_cas_blob_size_bytes is INVALID_ARGUMENT, a store without room
    # RESOURCE_EXHAUSTED; neither is looked at byte by byte first.
    digest = reapi.Digest(hash=peer.digest(b"x").hash, size_bytes=(1 << 63) - 1)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED):
        peer.write(peer.write_name(digest), b"x")
    assert peer.has(peer.digest(b""))


def test_writers_that_go_away_do_no_harm(peer: Peer) -> None:
    data = unique(1_000_000)
    digest = peer.digest(data)
    for _ in range(20):
        sender = Sender(peer)
        sender.send(message(peer.write_name(digest), data[:1000]))
        sender.call.cancel()
        sender.close()
    assert not peer.has(digest)
    assert peer.write(peer.write_name(digest), data) == len(data)


def test_concurrent_uploads_under_one_name_never_mix(peer: Peer) -> None:
    data = unique(2_000_000)
    digest = peer.digest(data)
    name = peer.write_name(digest)
    outcomes: list[int | Refusal] = []

    def upload() -> None:
        outcomes.append(attempt(lambda: peer.write(name, data)))

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Later ones take the upload over or find the blob; nobody is left without an answer.
    assert len(data) in outcomes
    assert grpc.StatusCode.DEADLINE_EXCEEDED not in {
        outcome.code for outcome in outcomes if isinstance(outcome, Refusal)
    }
    assert b"".join(peer.pieces(read_name(digest))) == data
