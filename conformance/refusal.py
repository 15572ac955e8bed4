"""What a call ended with in place of a reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from grpc import StatusCode

Detail = TypeVar("Detail", bound=Message)

STATUS_KEY = "grpc-status-details-bin"
_SAID_BY_THE_LIBRARY = "Internal error from Core"

# What a server may say to input that makes no sense. INTERNAL, UNKNOWN and UNAVAILABLE are not
# among them: clients take those for the server's own trouble, and try again.
BAD_INPUT = (
    StatusCode.INVALID_ARGUMENT,
    StatusCode.NOT_FOUND,
    StatusCode.OUT_OF_RANGE,
    StatusCode.FAILED_PRECONDITION,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.ALREADY_EXISTS,
    StatusCode.PERMISSION_DENIED,
    StatusCode.UNAUTHENTICATED,
    StatusCode.UNIMPLEMENTED,
    StatusCode.ABORTED,
    StatusCode.DATA_LOSS,
)
CODES = {code.value[0]: code for code in StatusCode}


class AnswerLost(Exception):
    """The client's library ended a call of its own accord: what the server answered is not known.

    grpc.aio does so where a message is written in the moment in which the server ends the call.
    """


class Refused(Exception):
    """A call ended with a status other than OK.

    status: what was in grpc-status-details-bin; empty where the server sends none.
    """

    def __init__(self, code: StatusCode, message: str, status: Status) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.status = status

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Refused:
        """Return what the server said; raise AnswerLost if it is not the server that said it."""
        if error.details() == _SAID_BY_THE_LIBRARY:
            raise AnswerLost(error.debug_error_string())
        return cls(error.code(), error.details() or "", _status(error.trailing_metadata()))

    def details(self, kind: type[Detail]) -> list[Detail]:
        """Return the details of one kind that the status comes with."""
        return list(details_of(self.status, kind))


def details_of(status: Status, kind: type[Detail]) -> Iterator[Detail]:
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            yield detail


def _status(trailers: Sequence[tuple[str, str | bytes]] | grpc.aio.Metadata | None) -> Status:
    for key, value in trailers or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                return Status()
    return Status()
