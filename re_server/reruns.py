"""Runs of the server's own: an action once more, with its result kept nowhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from action_cache.results import ActionKey
from cas.store import BlobStore, StoreFull
from cas.tree import MissingInputs
from protos import worker_pb2
from re_client.status import NotServed, Refused, Unserved
from re_config.schema import Execution as Settings
from re_server.actions import load_action
from re_server.executions import LEAST_URGENT, Reran, Rerun, rewriting_of, timeout_of
from re_server.instances import Instances
from scheduler.dispatch import Dispatcher
from scheduler.queue import Draining, QueueFull

IDLE_SECONDS = 1.0  # for which workers have had nothing to do before a run that waits for that
INVOCATION = "holdfast"  # on whose account such runs are scheduled


class RerunFailed(RuntimeError):
    """The action came to no result, or to a failure."""


# Why an action cannot be run once more now.
UNRUNNABLE = (RerunFailed, Refused, Unserved, MissingInputs, QueueFull, Draining, StoreFull)


@dataclass(frozen=True, slots=True)
class Reruns:
    """Runs actions again, after everything that clients ask for. learned: see `rewriting_of`."""

    dispatcher: Dispatcher
    blobs: BlobStore
    instances: Instances
    settings: Settings
    learned: Callable[[str], frozenset[str]]
    max_message_bytes: int

    async def run(
        self,
        key: ActionKey,
        variation: worker_pb2.Variation | None = None,
        *,
        priority: int = LEAST_URGENT,
    ) -> Reran:
        """Run the action once more. priority: as ExecutionPolicy has it.

        Raises RerunFailed unless it ends with exit code 0; NotServed if it cannot be run at all;
        MissingInputs, QueueFull and Draining.
        """
        loaded = await load_action(self.blobs, key.action, max_bytes=self.max_message_bytes)
        if loaded.input_root is None:
            raise NotServed(f"Action {key.action} has no input_root_digest: it cannot be run")
        request = Rerun(
            instance=key.instance,
            action=key.action,
            platform=loaded.platform,
            priority=priority,
            invocation=INVOCATION,
            input_root=loaded.input_root,
            named=loaded.named,
            timeout_seconds=timeout_of(loaded.action, self.settings),
            rewriting=rewriting_of(loaded, self.instances.find(key.instance), self.learned),
            mergeable=False,
            fresh=True,
            variation=variation,
            program=loaded.program,
        )
        operation = self.dispatcher.execute(request)
        try:
            async with operation.watch() as states:
                async for _ in states:
                    pass
        finally:
            self.dispatcher.cancel(operation.name)  # where this was cancelled; else it is done
            self.dispatcher.delete(operation.name)
        response = operation.response
        assert response is not None
        if response.status.code or not request.ran:
            raise RerunFailed(f"action {key.action}: {response.status.message}")
        if response.result.exit_code:
            raise RerunFailed(f"action {key.action} ended with {response.result.exit_code}")
        return Reran(response.result, request.ran[-1], request)

    async def idle(self) -> None:
        """Wait until workers have had nothing to do for a while."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < IDLE_SECONDS:
            await asyncio.sleep(IDLE_SECONDS / 4)
            if not self.dispatcher.spare or self.dispatcher.executing:
                idle_since = time.monotonic()
