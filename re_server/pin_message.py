"""Pins, as they go over the wire."""

from __future__ import annotations

import time

from google.protobuf.timestamp_pb2 import Timestamp

from action_cache.results import ActionKey, Kept, Origin, Pin
from cas.wire import TO_WIRE, digest_to
from protos import admin_pb2 as admin
from re_client.status import Refused

LAST_SECOND = 253_402_300_799  # of the year 9999; source: timestamp.proto, message Timestamp
NANOS = 1_000_000_000  # in a second
MOST = 1 << 48  # of anything that is counted: what comes from elsewhere has room to rise


def pin_message(key: ActionKey, pin: Pin, *, brief: bool = False) -> admin.Pin:
    """Return what is told of a pin. brief: without its result."""
    result = pin.kept.result
    message = admin.Pin(
        result=None if brief else result,
        worker=result.execution_metadata.worker,
        revision=pin.revision,
        conflicts=pin.conflicts,
        instance_name=key.instance,
        action_digest=digest_to(key.action),
        digest_function=TO_WIRE[key.action.function],
        agreements=pin.agreements,
        losses=pin.losses,
        origin=origin_message(pin.origin),
    )
    message.pinned.FromMicroseconds(round(pin.first_seen * 1e6))
    message.last_seen.FromMicroseconds(round(pin.last_seen * 1e6))
    return message


def origin_message(origin: Origin) -> admin.Origin:
    return admin.Origin(
        program=origin.program,
        target=origin.target,
        mnemonic=origin.mnemonic,
        invocation=origin.invocation,
        toolchain=origin.toolchain,
        rules=origin.rules,
    )


def pin_from(message: admin.Pin, kept: Kept) -> Pin:
    """Return the pin that `message` says; its time is the present where it says none.

    Raises Refused.
    """
    first = seconds_of(message.pinned, "pinned") if message.HasField("pinned") else time.time()
    last = seconds_of(message.last_seen, "last_seen") if message.HasField("last_seen") else first
    origin = message.origin
    return Pin(
        kept,
        first_seen=first,
        last_seen=last,
        revision=min(max(1, message.revision), MOST),
        agreements=min(max(0, message.agreements), MOST),
        conflicts=min(max(0, message.conflicts), MOST),
        losses=min(max(0, message.losses), MOST),
        origin=Origin(
            origin.program,
            origin.target,
            origin.mnemonic,
            origin.invocation,
            origin.toolchain,
            origin.rules,
        ),
    )


def seconds_of(timestamp: Timestamp, field: str) -> float:
    """Return seconds since 1970; raise Refused, naming `field`."""
    if not 0 <= timestamp.seconds <= LAST_SECOND or not 0 <= timestamp.nanos < NANOS:
        raise Refused(
            f"{field}: {timestamp.seconds} s, {timestamp.nanos} ns: must be between the years 1970 "
            "and 9999"
        )
    return timestamp.ToMicroseconds() / 1e6
