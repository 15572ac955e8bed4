"""Pins in a file, on their way from one server to another.

docs/storage.md, section 7, has the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from google.protobuf.message import DecodeError

from protos import admin_pb2 as admin

HEADER = b"holdfast pins 1\n"
LENGTH_BYTES = 4  # big-endian, before each pin; 0 after the last
MAX_PIN_BYTES = 64 << 20  # as of a message that a client takes


class InvalidPinFile(ValueError):
    """The file is none of pins, or was cut short; the message says which."""


def write_header(file: BinaryIO) -> None:
    file.write(HEADER)


def write_pin(file: BinaryIO, pin: admin.Pin) -> None:
    data = pin.SerializeToString(deterministic=True)
    file.write(len(data).to_bytes(LENGTH_BYTES, "big"))
    file.write(data)


def write_end(file: BinaryIO) -> None:
    """Say that no pin follows: a file without this was cut short."""
    file.write(bytes(LENGTH_BYTES))


def read_pins(file: BinaryIO) -> Iterator[tuple[admin.Pin, int]]:
    """Yield each pin with the bytes that it took in the file; raise InvalidPinFile."""
    if file.read(len(HEADER)) != HEADER:
        raise InvalidPinFile(f"it does not begin with {HEADER.decode().strip()!r}")
    number = 0
    while size := int.from_bytes(_exactly(file, LENGTH_BYTES, number), "big"):
        number += 1
        if size > MAX_PIN_BYTES:
            raise InvalidPinFile(f"pin {number} has {size} bytes, more than {MAX_PIN_BYTES}")
        try:
            pin = admin.Pin.FromString(_exactly(file, size, number))
        except DecodeError as error:
            raise InvalidPinFile(f"pin {number} is none: {error}") from None
        yield pin, LENGTH_BYTES + size
    if file.read(1):
        raise InvalidPinFile("something follows its end")


def _exactly(file: BinaryIO, size: int, number: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise InvalidPinFile(f"it was cut short: after {number} pins it ends without its end mark")
    return data
