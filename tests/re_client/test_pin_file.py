from __future__ import annotations

import io

import pytest

from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from re_client.pin_file import (
    HEADER,
    MAX_PIN_BYTES,
    InvalidPinFile,
    read_pins,
    write_end,
    write_header,
    write_pin,
)


def pin(number: int) -> admin.Pin:
    return admin.Pin(
        action_digest=reapi.Digest(hash="a" * 64, size_bytes=number),
        origin=admin.Origin(target="//a:" + "b" * 300),
    )


def written(*pins: admin.Pin) -> bytes:
    file = io.BytesIO()
    write_header(file)
    for each in pins:
        write_pin(file, each)
    write_end(file)
    return file.getvalue()


@pytest.mark.parametrize("count", [0, 1, 20])
def test_what_is_written_is_read(count: int) -> None:
    pins = [pin(number) for number in range(count)]
    data = written(*pins)
    found = list(read_pins(io.BytesIO(data)))
    assert [each for each, _ in found] == pins
    assert sum(size for _, size in found) == len(data) - len(HEADER) - 4


def test_a_file_that_was_cut_short_is_told_wherever_that_was() -> None:
    data = written(pin(1), pin(2))
    for size in range(len(data)):
        with pytest.raises(InvalidPinFile, match="cut short" if size >= len(HEADER) else "begin"):
            list(read_pins(io.BytesIO(data[:size])))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "does not begin with 'holdfast pins 1'"),
        (b"holdfast pins 2\n" + bytes(4), "does not begin with"),
        (written(pin(1)) + b"x", "something follows its end"),
        (HEADER + b"\0\0\0\1\xff" + bytes(4), "pin 1 is none"),
        (HEADER + (MAX_PIN_BYTES + 1).to_bytes(4, "big"), "more than"),
    ],
)
def test_what_is_no_file_of_pins_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(InvalidPinFile, match=told):
        list(read_pins(io.BytesIO(data)))
