"""What a running action writes, on its way to who reads along."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import NamedTuple, Protocol

from protos import remote_execution_pb2 as reapi, worker_pb2


class StreamNames(NamedTuple):
    """Resource names under which stdout and stderr can be read while they grow; "": not."""

    stdout: str = ""
    stderr: str = ""


UNNAMED = StreamNames()


class LiveOutput(Protocol):
    """The two streams of one attempt at an action."""

    @property
    def names(self) -> StreamNames: ...

    def add(self, output: worker_pb2.Output) -> None:
        """Take what the worker sends."""
        ...

    def complete(self, result: reapi.ActionResult) -> Coroutine[object, object, None]:
        """End both with all that `result`, which is looked at during this call alone, has."""
        ...

    def cut(self) -> None:
        """End both where they are: there will be no result."""
        ...
