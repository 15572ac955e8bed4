"""Proposals as people handle them: listed, confirmed, dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from itertools import chain

from action_cache.disk import DiskResults
from action_cache.mode import Mode
from action_cache.references import complete
from action_cache.results import ActionKey, Pin, Proposal, Slot
from cas.digest import Digest
from cas.store import BlobStore
from cas.tree import TreeLimits
from cas.wire import TO_WIRE, digest_to
from determinism.judge import Judge
from determinism.proposals import conflicting
from protos import admin_pb2 as admin
from re_client.parallel import each
from re_client.status import NotServed, Refused, Unserved
from re_server.hits import Hits
from re_server.instances import Instances
from re_server.pin_filter import glob, readings
from re_server.pin_message import origin_message
from re_server.witness import Witness

AT_ONCE = 64  # actions that are changed in one commit


class Proposals:
    """The proposals of a server."""

    def __init__(
        self,
        instances: Instances,
        *,
        blobs: BlobStore,
        results: DiskResults,
        judge: Judge,
        hits: Hits,
        limits: TreeLimits,
        witness: Witness,
    ) -> None:
        self._instances = instances
        self._blobs = blobs
        self._results = results
        self._judge = judge
        self._hits = hits
        self._limits = limits
        self._witness = witness

    async def chosen(
        self, filter: admin.ProposalFilter, *, brief: bool
    ) -> AsyncIterator[admin.Proposal]:
        """Yield the proposals that `filter` lets pass, as messages. brief: without their results.

        Raises NotServed where its instance is not served, InvalidDigest.
        """
        selection = self._selection(filter)
        async for key, proposals in self._results.proposals.by_action(selection.instance):
            apart = conflicting(proposals, key.action.function)
            for proposal in proposals:
                if selection.takes(key, proposal, apart=apart):
                    yield _message(key, proposal, apart=apart, brief=brief)

    async def confirm(self, key: ActionKey, writer: str) -> Pin:
        """Make what `writer` proposes the pin, in place of another if there is one.

        Raises NotServed if it proposes nothing; Unserved if that is not to be pinned; what
        `complete` raises.
        """
        proposal = await self._results.proposals.find(key, writer)
        if proposal is None:
            raise NotServed(
                f"{writer!r} proposes nothing for action {key.action} of instance {key.instance!r}"
            )
        if not proposal.comparable:
            raise Unserved(
                f"action {key.action} has no input root: its results may differ from run to run, "
                "and are not pinned"
            )
        kept = await complete(proposal.kept.result, key.action.function, self._blobs, self._limits)
        decision = await self._judge.settle(
            key, kept, Mode.PIN, replace=True, origin=proposal.origin
        )
        self._hits.forget(key)
        self._witness.promoted(key, proposal, decision, mode=Mode.PIN)
        assert decision.slot.pin is not None
        return decision.slot.pin

    async def drop(self, filter: admin.ProposalFilter) -> int:
        """Forget what `filter` lets pass; return how many proposals. Raises Refused."""
        if not filter.writer and not filter.action_digests:
            raise Refused("filter: it names neither a writer nor actions")
        selection = self._selection(filter)
        dropped = 0
        batch: list[ActionKey] = []

        async def drop(key: ActionKey) -> None:
            nonlocal dropped
            gone = await self._drop(key, selection)
            dropped += gone

        async for key, proposals in self._results.proposals.by_action(selection.instance):
            if any(selection.takes(key, one, apart=True) for one in proposals):
                batch.append(key)
            if len(batch) == AT_ONCE:
                await each(drop, batch, width=AT_ONCE)
                batch.clear()
        await each(drop, batch, width=AT_ONCE)
        return dropped

    async def _drop(self, key: ActionKey, selection: _Selection) -> int:
        dropped = 0

        def drop(slot: Slot) -> Slot:
            nonlocal dropped
            apart = conflicting(slot.proposals, key.action.function)
            left = tuple(
                one for one in slot.proposals if not selection.takes(key, one, apart=apart)
            )
            dropped = len(slot.proposals) - len(left)
            return replace(slot, proposals=left)

        await self._results.change(key, drop)
        return dropped

    def _selection(self, filter: admin.ProposalFilter) -> _Selection:
        instance = filter.instance_name if filter.HasField("instance_name") else None
        if instance is not None:
            self._instances.find(instance)
        return _Selection(
            instance,
            frozenset(chain.from_iterable(map(readings, filter.action_digests))),
            glob(filter.writer or "*"),
            filter.conflicting,
        )


@dataclass(frozen=True, slots=True)
class _Selection:
    """What a ProposalFilter lets pass. instance: None for all. named: empty for all."""

    instance: str | None
    named: frozenset[Digest]
    writer: Callable[[str], object]
    conflicting: bool

    def takes(self, key: ActionKey, proposal: Proposal, *, apart: bool) -> bool:
        """apart: what is proposed for the action is not all the same."""
        return (
            (not self.named or key.action in self.named)
            and (apart or not self.conflicting)
            and bool(self.writer(proposal.writer))
        )


def _message(key: ActionKey, proposal: Proposal, *, apart: bool, brief: bool) -> admin.Proposal:
    message = admin.Proposal(
        instance_name=key.instance,
        action_digest=digest_to(key.action),
        digest_function=TO_WIRE[key.action.function],
        writer=proposal.writer,
        result=None if brief else proposal.kept.result,
        origin=origin_message(proposal.origin),
        conflicting=apart,
        comparable=proposal.comparable,
    )
    message.proposed.FromMicroseconds(round(proposal.proposed * 1e6))
    return message
