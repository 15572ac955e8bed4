"""Writes that a test sends message by message."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from protos import bytestream_pb2
from tests.protocol.peer import CALL_SECONDS, Peer

STEP_BYTES = 64 << 10  # of one message, where a test sends many


def message(
    name: str, data: bytes = b"", *, offset: int = 0, finish: bool = False
) -> bytestream_pb2.WriteRequest:
    return bytestream_pb2.WriteRequest(
        resource_name=name, write_offset=offset, data=data, finish_write=finish
    )


class Sender:
    """A Write whose messages the test sends one by one."""

    def __init__(self, peer: Peer) -> None:
        self._messages: queue.SimpleQueue[bytestream_pb2.WriteRequest | None] = queue.SimpleQueue()
        self.call = peer.stream.Write.future(self._sent(), timeout=CALL_SECONDS)

    def _sent(self) -> Iterator[bytestream_pb2.WriteRequest]:
        while (sent := self._messages.get()) is not None:
            yield sent

    def send(self, sent: bytestream_pb2.WriteRequest) -> None:
        self._messages.put(sent)

    def close(self) -> None:
        """Send nothing more."""
        self._messages.put(None)

    def committed_size(self) -> int:
        return self.call.result().committed_size
