"""What is checked and what is done are one: no way of writing an instance name gets round that."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings, strategies as st

from cas.names import cut, name_in, varint
from protos import admin_pb2, admin_pb2_grpc, bytestream_pb2, remote_execution_pb2 as reapi
from re_client.status import Refused
from re_config.determinism_tables import Instance
from re_server.authorisation import table
from re_server.instances import Instances
from re_server.resource_name import parse_read, parse_write, read_instance, write_instance
from re_server.write_message import parse_write_message
from tests.access.callers import Tokens, bearer, calling
from tests.protocol.blobs import digest_of, write_name
from tests.protocol.peer import CALL_SECONDS, Peer, refused
from tests.serving import Served, serving

DATA = b"a blob that two instances have"
DIGEST = digest_of(DATA)
FIND = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
RESULT = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult"
DENIED = grpc.StatusCode.PERMISSION_DENIED

RAW = table(None)["ContentAddressableStorage/FindMissingBlobs"].place
ANY = Instances({}, Instance())


def field(number: int, data: bytes, *, overlong: int = 0) -> bytes:
    """Write a field of bytes, its length with `overlong` bytes more than it needs."""
    length = bytearray(varint(len(data)))
    if overlong:
        length[-1] |= 0x80
        length += b"\x80" * (overlong - 1) + b"\0"
    return bytes((number << 3 | 2,)) + bytes(length) + data


NAMED = field(2, DIGEST.SerializeToString())
NAMES = st.sampled_from([b"", b"mine", b"yours", b"x" * 127, b"x" * 128, b"x" * 133, b"\xff"])
FIELDS = st.one_of(
    st.builds(field, st.just(1), NAMES, overlong=st.integers(0, 3)),
    st.just(NAMED),
    st.builds(field, st.integers(2, 15), st.binary(max_size=8)),
    st.builds(lambda number: b"\x18" + varint(number), st.integers(0, 300)),
    st.binary(max_size=3),
)
SEGMENTS = st.sampled_from(
    ["a", "", "blobs", "uploads", "compressed-blobs", "zstd", "u", DIGEST.hash, "30", "blake3"]
)
WRITTEN = st.sampled_from(
    [
        field(1, b"mine/uploads/u/blobs/x/1"),
        field(1, b"yours/uploads/u/blobs/x/1", overlong=2),
        b"\x10\x05",
        b"\x18\x01",
        field(10, b"data"),
        field(7, b"new"),
    ]
)


@settings(deadline=None)
@given(st.lists(FIELDS, max_size=6).map(b"".join))
@example(field(1, b"mine") + NAMED + field(1, b"yours"))
@example(NAMED + field(1, b"mine"))
@example(b"\x0a\x85\x00mine!" + b"x" * 128 + NAMED)
def test_the_instance_that_is_checked_is_the_one_that_acts(request: bytes) -> None:
    pieces = cut(request, function_field=3)
    try:
        whole = reapi.FindMissingBlobsRequest.FromString(request)
    except DecodeError:
        return  # the method refuses it, and the check may as well
    assert RAW(request) == whole.instance_name
    if pieces is not None and all(map(name_in, pieces.pieces)):
        assert pieces.instance == whole.instance_name


@settings(deadline=None)
@given(st.lists(SEGMENTS, max_size=9).map("/".join))
def test_a_resource_name_has_one_instance_for_the_check_and_the_method(name: str) -> None:
    for instance_of, parse in ((read_instance, parse_read), (write_instance, parse_write)):
        try:
            parsed = parse(name, ANY)
        except (ValueError, LookupError):
            continue
        assert instance_of(name) == parsed.instance


@settings(deadline=None)
@given(st.lists(WRITTEN, max_size=6).map(b"".join))
def test_the_first_message_of_an_upload_is_read_as_protobuf_reads_it(message: bytes) -> None:
    whole = bytestream_pb2.WriteRequest.FromString(message)
    assert parse_write_message(message).resource_name == whole.resource_name
    try:
        instance = write_instance(whole.resource_name)
    except Refused:
        return
    assert table(None)["ByteStream/Write"].place(message) == instance


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    folder = tmp_path_factory.mktemp("confusion")
    tokens = Tokens(folder)
    tokens.add("me")
    settings = (
        f'[access]\ntokens = "{tokens.file}"\n[[access.grants]]\nwho = ["token:me"]\n'
        'rights = ["ci", "pins"]\ninstances = ["mine"]\n[instances.mine]\n[instances.yours]\n'
    )
    with serving(folder / "server", settings) as made:
        yield made, tokens.by_name["me"]


@pytest.fixture
def peer(served: tuple[Served, str]) -> Iterator[Peer]:
    with calling(served[0].grpc, bearer(served[1])) as made:
        yield made.at("mine")


def raw(peer: Peer, method: str, request: bytes) -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = peer.channel.unary_unary(method)
    return call(request, timeout=CALL_SECONDS)


@pytest.mark.parametrize(
    "request_bytes",
    [
        field(1, b"mine") + NAMED + field(1, b"yours"),
        field(1, b"mine") + field(1, b"yours") + NAMED,
        NAMED + field(1, b"yours", overlong=2),
        field(1, b"yours", overlong=1) + NAMED,
        field(1, b"yours") + NAMED + field(9, b"unknown"),
    ],
    ids=["behind", "twice", "late", "overlong", "unknown field"],
)
def test_another_instance_is_not_reached_however_it_is_written(
    peer: Peer, request_bytes: bytes
) -> None:
    for method in (FIND, RESULT):
        with refused(DENIED, naming="'yours'"):
            raw(peer, method, request_bytes)


def test_the_last_of_several_names_is_the_one_that_counts(peer: Peer) -> None:
    assert raw(peer, FIND, field(1, b"yours") + NAMED + field(1, b"mine")) == NAMED


def test_a_remembered_answer_is_not_given_to_who_may_not_have_it(
    served: tuple[Served, str], peer: Peer
) -> None:
    request = reapi.GetActionResultRequest(instance_name="mine", action_digest=DIGEST)
    with refused(grpc.StatusCode.NOT_FOUND):
        raw(peer, RESULT, request.SerializeToString())
    with calling(served[0].grpc, None) as nobody, refused(grpc.StatusCode.UNAUTHENTICATED):
        raw(nobody, RESULT, request.SerializeToString())


def test_an_upload_does_not_change_its_instance_on_the_way(peer: Peer) -> None:
    name, other = write_name(DIGEST, instance="mine"), write_name(DIGEST, instance="yours")
    for names in ((name, other), (other, name)):
        messages = [
            bytestream_pb2.WriteRequest(resource_name=each, data=DATA[at : at + 4], write_offset=at)
            for at, each in zip((0, 4), names, strict=True)
        ]
        code = DENIED if names[0] is other else grpc.StatusCode.INVALID_ARGUMENT
        with refused(code):
            peer.send(messages)
    with refused(DENIED):
        peer.write_status(other)


def test_a_log_of_another_instance_is_neither_read_nor_written(peer: Peer) -> None:
    for name in ("yours/logstreams/mine", "mine/yours/logstreams/mine/mine"):
        with refused(DENIED, naming="yours'"):
            list(peer.pieces(name))
        with refused(DENIED, naming="yours'"):
            peer.write(name, b"x")


def test_a_pin_of_another_instance_is_not_taken_over_behind_one_of_the_own(peer: Peer) -> None:
    admin = admin_pb2_grpc.AdminStub(peer.channel)
    pins = [
        admin_pb2.Pin(instance_name=name, action_digest=DIGEST, result=reapi.ActionResult())
        for name in ("mine", "yours")
    ]
    assert admin.ImportPins(iter(pins[:1]), timeout=CALL_SECONDS).imported == 1
    with refused(DENIED, naming="'yours'"):
        admin.ImportPins(iter(pins), timeout=CALL_SECONDS)
