from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, strategies as st

from protos import bytestream_pb2
from re_server.write_message import parse_write_message

MESSAGES = st.builds(
    lambda name, offset, finish, data: bytestream_pb2.WriteRequest(
        resource_name=name, write_offset=offset, finish_write=finish, data=data
    ),
    st.text(max_size=30),
    st.one_of(st.integers(0, 1000), st.integers(-(1 << 63), (1 << 63) - 1)),
    st.booleans(),
    st.binary(max_size=400),
)


def parsed(serialised: bytes) -> bytestream_pb2.WriteRequest:
    found = parse_write_message(serialised)
    return bytestream_pb2.WriteRequest(
        resource_name=found.resource_name,
        write_offset=found.write_offset,
        finish_write=found.finish_write,
        data=bytes(found.data),
    )


@given(MESSAGES)
def test_a_message_is_read_as_protobuf_reads_it(message: bytestream_pb2.WriteRequest) -> None:
    assert parsed(message.SerializeToString()) == message


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_protobuf_reads_them(data: bytes) -> None:
    try:
        expected = bytestream_pb2.WriteRequest.FromString(data)
    except DecodeError:
        with pytest.raises(DecodeError):
            parse_write_message(data)
    else:
        expected.DiscardUnknownFields()
        assert parsed(data) == expected


def test_the_data_is_not_copied() -> None:
    message = bytestream_pb2.WriteRequest(resource_name="n", data=b"x" * 1000).SerializeToString()
    assert parse_write_message(message).data.obj is message


@pytest.mark.parametrize("tag", [b"\x0a", b"\x10", b"\x18", b"\x52"])
def test_a_number_without_an_end_is_refused_at_once(tag: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_write_message(tag + b"\xff" * (8 << 20))
