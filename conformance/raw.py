"""Protocol buffers by hand, for what no message can say.

Source: the encoding guide of Protocol Buffers; wire types 0 is a varint, 2 a length and bytes.
"""

from __future__ import annotations

START_GROUP, END_GROUP = 3, 4


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def delimited(field: int, data: bytes) -> bytes:
    """Return one field of bytes, a string or a message."""
    return varint(field << 3 | 2) + varint(len(data)) + data


def numbered(field: int, number: int) -> bytes:
    """Return one field of a whole number, at least 0."""
    return varint(field << 3) + varint(number)


def nested_groups(field: int, levels: int) -> bytes:
    """Return an unknown field of groups within groups."""
    return varint(field << 3 | START_GROUP) * levels + varint(field << 3 | END_GROUP) * levels
