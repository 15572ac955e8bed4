"""What Bazel says that it moved: its log of gRPC calls, --experimental_remote_grpc_log.

Source: Bazel 4.2.3, src/main/protobuf/remote_execution_log.proto: the file holds LogEntry messages,
each behind its length. Only what is counted here is read of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LOG_ENTRY_DETAILS = 4
DETAILS_READ = 5
DETAILS_WRITE = 6
READ_BYTES_READ = 3
WRITE_BYTES_SENT = 3

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types. Source: the Protocol Buffers encoding specification, "Message Structure"."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of blobs that one command sent to the server and received from it."""

    sent_bytes: int
    received_bytes: int


def traffic(log: bytes) -> Traffic:
    """Add up the ByteStream calls in `log`."""
    sent = received = 0
    for entry in delimited(log):
        for details in inside(entry, LOG_ENTRY_DETAILS):
            for write in inside(details, DETAILS_WRITE):
                sent += number(write, WRITE_BYTES_SENT)
            for read in inside(details, DETAILS_READ):
                received += number(read, READ_BYTES_READ)
    return Traffic(sent, received)


def delimited(log: bytes) -> Iterator[bytes]:
    """Yield messages that stand each behind its length."""
    position = 0
    while position < len(log):
        size, position = varint(log, position)
        yield log[position : position + size]
        position += size


def inside(message: bytes, field: int) -> Iterator[bytes]:
    """Yield the messages that `message` holds in `field`."""
    for found, value in fields(message):
        if found == field and isinstance(value, bytes):
            yield value


def number(message: bytes, field: int) -> int:
    """Return the number that `message` holds in `field`, 0 if it holds none."""
    return next((v for f, v in fields(message) if f == field and isinstance(v, int)), 0)


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield each field's number and value; of fixed width ones the bytes."""
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        kind = tag & 7
        if kind == VARINT:
            value, position = varint(message, position)
            yield tag >> 3, value
            continue
        if kind == LENGTH:
            size, position = varint(message, position)
        else:
            size = {FIXED64: 8, FIXED32: 4}[kind]
        yield tag >> 3, message[position : position + size]
        position += size


def varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the number that starts at `position`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
