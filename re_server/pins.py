"""Pins as people handle them: chosen, listed, replaced, dropped, taken over from another server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from action_cache.mode import Mode
from action_cache.references import complete
from action_cache.results import ActionKey, Pin, ResultStore, Slot
from cas.store import BlobStore
from cas.tree import MissingInputs, TreeLimits
from determinism.judge import Judge
from protos import admin_pb2 as admin, remote_execution_pb2 as reapi
from re_client.parallel import each
from re_client.status import NotServed, Overloaded, Refused, Unserved
from re_server.executions import Reran
from re_server.hits import Hits
from re_server.instances import Instances
from re_server.pin_filter import Selection
from re_server.pin_message import pin_from, seconds_of
from re_server.reruns import RerunFailed
from re_server.result_uploads import UPLOADER
from scheduler.queue import Draining, QueueFull

AT_ONCE = 64  # pins that are changed in one commit
NOTHING = Slot(None, None, intact=False)

Run = Callable[[ActionKey], Awaitable[Reran]]
"""Runs an action once more, with its result kept nowhere. Raises as `Reruns.run` does."""


class Pins:
    """The pins of a server. rerun: runs an action once more; None where nothing is executed."""

    def __init__(
        self,
        instances: Instances,
        *,
        blobs: BlobStore,
        results: ResultStore,
        judge: Judge,
        hits: Hits,
        limits: TreeLimits,
        rerun: Run | None,
    ) -> None:
        self._instances = instances
        self._blobs = blobs
        self._results = results
        self._judge = judge
        self._hits = hits
        self._limits = limits
        self._rerun = rerun

    async def get(self, key: ActionKey) -> Pin:
        """Return the pin; raise NotServed if there is none."""
        pin = await self._results.pin(key)
        if pin is None:
            raise NotServed(f"action {key.action} of instance {key.instance!r} has no pin")
        return pin

    async def chosen(self, selection: Selection) -> AsyncIterator[tuple[ActionKey, Pin]]:
        """Yield the pins that `selection` takes."""
        if selection.instance is not None and selection.named:
            for action in selection.named:
                key = ActionKey(selection.instance, action)
                pin = await self._results.pin(key)
                if pin is not None and selection.takes(key, pin):
                    yield key, pin
            return
        async for key, pin in self._results.pins(selection.instance):
            if selection.takes(key, pin):
                yield key, pin

    async def replace(self, key: ActionKey, result: reapi.ActionResult | None) -> Pin:
        """Make `result` the pin; where it is None, that of a new run.

        What is known of the action stays: its counts, program and target. Raises NotServed if there
        is no pin, Refused, what `complete` raises, and Unserved where a run is no success.
        """
        pin = await self.get(key)
        if result is None:
            reran = await self._run(key)
            result, ran = reran.result, reran.ran
            origin = replace(
                pin.origin,
                program=reran.request.program,
                invocation="",
                toolchain=ran.toolchain,
                rules=ran.report.rules,
            )
        else:
            _check_success(result, "result")
            if not result.execution_metadata.worker:
                result.execution_metadata.worker = UPLOADER
            origin = replace(pin.origin, invocation="", toolchain="", rules="")
        kept = await complete(result, key.action.function, self._blobs, self._limits)
        decision = await self._judge.settle(key, kept, Mode.PIN, replace=True, origin=origin)
        self._hits.forget(key)
        assert decision.slot.pin is not None
        return decision.slot.pin

    async def _run(self, key: ActionKey) -> Reran:
        if self._rerun is None:
            raise Unserved(
                "nothing is executed here (execution.enabled = false): give the result that is to "
                "become the pin"
            )
        try:
            return await self._rerun(key)
        except RerunFailed as error:
            raise Unserved(str(error)) from None
        except QueueFull as error:
            raise Overloaded(str(error)) from None
        except Draining as error:
            raise ConnectionError(str(error)) from None

    async def drop(self, selection: Selection, *, dry_run: bool) -> int:
        """Forget what `selection` takes, cached results too; return how many pins."""
        dropped = 0
        batch: list[ActionKey] = []

        async def drop(key: ActionKey) -> None:
            nonlocal dropped
            gone = await self._drop(key, selection)
            dropped += gone

        async for key, _ in self.chosen(selection):
            if dry_run:
                dropped += 1
                continue
            batch.append(key)
            if len(batch) == AT_ONCE:
                await each(drop, batch, width=AT_ONCE)
                batch.clear()
        await each(drop, batch, width=AT_ONCE)
        return dropped

    async def _drop(self, key: ActionKey, selection: Selection) -> bool:
        """Forget the pin if it is still one that is meant; say whether it was."""
        gone = False

        def drop(slot: Slot) -> Slot:
            nonlocal gone
            gone = slot.pin is not None and selection.takes(key, slot.pin)
            return NOTHING if gone else slot

        await self._results.change(key, drop)
        self._hits.forget(key)
        return gone

    async def take_over(self, pins: AsyncIterator[admin.Pin]) -> admin.ImportPinsResponse:
        """Keep pins of another server with their history, and answer with them from now on.

        Raises Refused for a message that is no pin: what came before it is taken.
        """
        counts = admin.ImportPinsResponse()
        batch: list[tuple[ActionKey, admin.Pin]] = []

        async def take(checked: tuple[ActionKey, admin.Pin]) -> None:
            match await self._take(*checked):
                case None:
                    counts.incomplete += 1
                case True:
                    counts.imported += 1
                case False:
                    counts.kept += 1

        async for message in pins:
            batch.append(self._checked(message))
            if len(batch) == AT_ONCE:
                await each(take, batch, width=AT_ONCE)
                batch.clear()
        await each(take, batch, width=AT_ONCE)
        return counts

    def _checked(self, message: admin.Pin) -> tuple[ActionKey, admin.Pin]:
        action = self._instances.digest(
            message.instance_name,
            message.digest_function,
            message.action_digest,
            field="action_digest",
        )
        where = f"pin of action {action}"
        if not message.HasField("result"):
            raise Refused(f"{where}: it has no result")
        _check_success(message.result, where)
        for name in ("pinned", "last_seen"):
            seconds_of(getattr(message, name), f"{where}: {name}")
        return ActionKey(message.instance_name, action), message

    async def _take(self, key: ActionKey, message: admin.Pin) -> bool | None:
        """Pin what `message` says unless there is a pin; None where blobs of it are not here."""
        if await self._results.pin(key) is not None:
            return False
        try:
            kept = await complete(message.result, key.action.function, self._blobs, self._limits)
        except MissingInputs:
            return None
        pin = pin_from(message, kept)
        taken = False

        def take(slot: Slot) -> Slot:
            nonlocal taken
            taken = slot.pin is None
            return Slot(kept, pin, intact=True) if taken else slot

        await self._results.change(key, take)
        self._hits.forget(key)
        return taken


def _check_success(result: reapi.ActionResult, where: str) -> None:
    if result.exit_code != 0:
        raise Refused(f"{where}: exit code {result.exit_code}: only a success is pinned")
