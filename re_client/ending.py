"""How a call ended, as the server said it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

import grpc.aio

from re_client.connection import CUT_OFF

T = TypeVar("T")


class Ending:
    """Notes the error that a call ends with, at the moment that it comes.

    When a message is still being sent then, gRPC puts an error of its own in place of the server's,
    so that to ask later is to ask too late: one refusal in five was lost, on a busy machine.
    """

    def __init__(self, call: grpc.aio.Call) -> None:
        self.error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    def _note(self, call: grpc.aio.Call) -> None:
        code, details = _now(call.code()), _now(call.details())
        if self.error is None and code != grpc.StatusCode.OK and details != CUT_OFF:
            trailing = _now(call.trailing_metadata())
            self.error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


def _now(known: Coroutine[object, object, T]) -> T:
    """Return what a coroutine that need not wait returns: a call that has ended knows all."""
    try:
        known.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    known.close()
    raise AssertionError("a call that has ended does not know how")
