"""One request to run an action, as its client sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from protos import remote_execution_pb2 as reapi
from scheduler.live import UNNAMED, StreamNames
from scheduler.request import Request


@dataclass(frozen=True, slots=True)
class State:
    """What a client is told about its operation at one time.

    response: there when the stage is COMPLETED. Merged requests share it: copy it to change it.
    worker: name of the worker that runs the action, or "".
    streams: where its output can be read, from EXECUTING on.
    """

    stage: reapi.ExecutionStage.Value.ValueType
    response: reapi.ExecuteResponse | None = None
    worker: str = ""
    streams: StreamNames = UNNAMED

    @property
    def done(self) -> bool:
        return self.response is not None


class Operation:
    """One request and what has become of it.

    name: opaque, of this request alone: others that wait for the same execution have their own.
    number: rises from operation to operation.
    queued_at, begun_at, finished_at: seconds since the epoch; None where it has not happened.
    on_watched: told True when the first client begins to listen, False when the last one ends.
    """

    def __init__(
        self,
        name: str,
        number: int,
        request: Request,
        *,
        queued_at: float,
        on_watched: Callable[[bool], object],
    ) -> None:
        self.name = name
        self.number = number
        self.request = request
        self.queued_at = queued_at
        self.begun_at: float | None = None
        self.finished_at: float | None = None
        self.state = State(reapi.ExecutionStage.QUEUED)
        self._on_watched = on_watched
        self._watches: dict[Watch, None] = {}
        self._when_done: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        stage = reapi.ExecutionStage.Value.Name(self.state.stage)
        return f"<Operation {self.name} of {self.request.action}: {stage}>"

    @property
    def stage(self) -> reapi.ExecutionStage.Value.ValueType:
        return self.state.stage

    @property
    def response(self) -> reapi.ExecuteResponse | None:
        """The end of it, or None before that; shared, so copy it to change it."""
        return self.state.response

    @property
    def done(self) -> bool:
        return self.state.done

    def watch(self) -> Watch:
        """Listen: `async with operation.watch() as states: async for state in states: ...`."""
        return Watch(self)

    def when_done(self, call: Callable[[], object]) -> None:
        """Have `call` called when the operation is done, at once if it is."""
        if self.done:
            call()
        else:
            self._when_done.append(call)

    def publish(self, state: State, at: float) -> None:
        """Note a new state, and tell those who listen. What is done stays as it is.

        at: seconds since the epoch.
        """
        if self.done:
            return
        self.state = state
        if state.stage == reapi.ExecutionStage.EXECUTING:
            self.begun_at = at
        if state.done:
            self.finished_at = at
        for watch in self._watches:
            watch.tell(state)
        if state.done:
            for call in self._when_done:
                call()

    def watched_by(self, watch: Watch) -> None:
        """Begin to tell `watch`."""
        self._watches[watch] = None
        if len(self._watches) == 1:
            self._on_watched(True)

    def left_by(self, watch: Watch) -> None:
        """Tell `watch` no more."""
        del self._watches[watch]
        if not self._watches:
            self._on_watched(False)


class Watch:
    """The current state at once, then each change, up to the done state and with it.

    Waiting for the next state may be cancelled, by a time-out for instance, and begun again:
    no state is lost.
    """

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._states: deque[State] = deque()
        self._woken = asyncio.Event()
        self._ended = False

    async def __aenter__(self) -> Self:
        self.tell(self._operation.state)
        self._operation.watched_by(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._operation.left_by(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> State:
        if self._ended:
            raise StopAsyncIteration
        while not self._states:
            self._woken.clear()
            await self._woken.wait()
        state = self._states.popleft()
        self._ended = state.done
        return state

    def tell(self, state: State) -> None:
        """Add what `__anext__` is to return."""
        self._states.append(state)
        self._woken.set()
