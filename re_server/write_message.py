"""ByteStream.Write's messages, without copies of what they carry."""

from __future__ import annotations

from typing import NamedTuple

from protos import bytestream_pb2

# Tags of a WriteRequest's fields. Source: bytestream.proto, message WriteRequest.
_NAME, _OFFSET, _FINISH, _DATA = 0x0A, 0x10, 0x18, 0x52
VARINT_BITS = 63  # of a length or an offset that makes sense; protobuf cuts what is longer


class WriteMessage(NamedTuple):
    """A WriteRequest. data: a view of the message that it came in."""

    resource_name: str
    write_offset: int
    finish_write: bool
    data: memoryview


def parse_write_message(message: bytes) -> WriteMessage:
    """Read a serialised WriteRequest; raise DecodeError if it is none.

    A parsed message would copy the data twice, which took a third of an upload's time. What is
    not written in the usual way is left to protobuf.
    """
    name, offset, finish = "", 0, False
    data = memoryview(b"")
    at, end = 0, len(message)
    try:
        while at < end:
            tag = message[at]
            value, at = _varint(message, at + 1)
            if tag == _NAME:
                name = message[at : at + value].decode()
                at += value
            elif tag == _DATA:
                data = memoryview(message)[at : at + value]
                at += value
            elif tag == _OFFSET:
                offset = value
            elif tag == _FINISH:
                finish = bool(value)
            else:
                return _parsed(message)
    except (IndexError, UnicodeDecodeError):
        return _parsed(message)
    return WriteMessage(name, offset, finish, data) if at == end else _parsed(message)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at`, and where it ends.

    Raises IndexError if it does not end, or has more than VARINT_BITS: a message can hold a number
    of millions of bytes, which took a minute to add up.
    """
    number = 0
    for shift in range(0, VARINT_BITS, 7):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte <= 0x7F:  # noqa: PLR2004 - 7 bits a byte
            return number, at
    raise IndexError


def _parsed(message: bytes) -> WriteMessage:
    request = bytestream_pb2.WriteRequest.FromString(message)
    return WriteMessage(
        request.resource_name,
        request.write_offset,
        request.finish_write,
        memoryview(request.data),
    )
