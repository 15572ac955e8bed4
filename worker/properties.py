"""Node properties: of outputs as they are found, of inputs as a client gives them.

Source: remote_execution.proto, message NodeProperties.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection

from google.protobuf.timestamp_pb2 import Timestamp

from cas.tree import InvalidMessage
from protos import remote_execution_pb2 as reapi

MODE_BITS = 0o777  # what a mode can say: set-user-id and the like mean nothing in a sandbox
NANOSECONDS = 10**9


class Found:
    """Says of outputs what the Command asks for. wanted: names, of NODE_PROPERTIES."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._mtime = "mtime" in wanted
        self._mode = "unix_mode" in wanted

    @property
    def times(self) -> bool:
        """Whether what is told differs from run to run."""
        return self._mtime

    def of(self, found: os.stat_result) -> reapi.NodeProperties | None:
        """Return what is asked for; None if nothing is."""
        if not (self._mtime or self._mode):
            return None
        properties = reapi.NodeProperties()
        if self._mtime:
            properties.mtime.FromNanoseconds(found.st_mtime_ns)
        if self._mode:
            properties.unix_mode.value = stat.S_IMODE(found.st_mode)
        return properties


def given_time(properties: reapi.NodeProperties, otherwise: int) -> int:
    """Return the modification time that an input gets, in nanoseconds since 1970.

    Raises InvalidMessage where the client's is none.
    """
    if not properties.HasField("mtime"):
        return otherwise
    time: Timestamp = properties.mtime
    nanoseconds = time.seconds * NANOSECONDS + time.nanos
    if not (0 <= time.nanos < NANOSECONDS and -(1 << 63) <= nanoseconds < 1 << 63):
        raise InvalidMessage(f"node_properties.mtime {time.seconds} s, {time.nanos} ns is no time")
    return nanoseconds


def given_mode(properties: reapi.NodeProperties, otherwise: int) -> int:
    """Return the mode that an input gets."""
    if not properties.HasField("unix_mode"):
        return otherwise
    return properties.unix_mode.value & MODE_BITS
