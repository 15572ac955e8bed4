"""How a worker and its scheduler speak, whatever lies between them."""

from __future__ import annotations

from typing import Protocol

from protos import worker_pb2


class Link(Protocol):
    """The worker's end. The Offer was made when the link was opened: it is not sent here."""

    async def receive(self) -> worker_pb2.ToWorker:
        """Wait for the next message; raise ConnectionError when there will be none."""
        ...

    async def send(self, message: worker_pb2.FromWorker, /) -> None:
        """Hand over `message`; raise ConnectionError if the other end is gone."""
        ...
