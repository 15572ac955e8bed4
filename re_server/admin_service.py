"""The Admin service: what people who run the server ask of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from importlib.metadata import version

from action_cache.disk import DiskResults
from action_cache.results import ActionKey
from cas.disk import DiskStore
from cas.disk_room import Room
from cas.tree import TreeLimits
from determinism.judge import Judge
from determinism.policy import Verdict
from protos import admin_pb2, admin_pb2_grpc, remote_execution_pb2 as reapi
from re_client.status import NotServed, Refused
from re_server.audits import Audits
from re_server.hits import Hits
from re_server.instances import Instances
from re_server.nondeterminism import Nondeterminism
from re_server.pin_filter import selection_of
from re_server.pin_message import pin_message
from re_server.pins import Pins, Run
from re_server.proposals import Proposals
from re_server.rpc import Context
from scheduler.dispatch import Dispatcher


class AdminService(admin_pb2_grpc.AdminServicer):
    """holdfast.admin.v1.Admin.

    dispatcher, rerun, audits: None where nothing is executed. hits: answers that are forgotten with
    a pin. limits: bounds on the trees of a result that is to become a pin.
    """

    def __init__(
        self,
        instances: Instances,
        *,
        blobs: DiskStore,
        room: Room,
        results: DiskResults,
        judge: Judge,
        dispatcher: Dispatcher | None,
        hits: Hits,
        limits: TreeLimits,
        rerun: Run | None,
        nondeterminism: Nondeterminism,
        audits: Audits | None,
        proposals: Proposals,
    ) -> None:
        self._proposals = proposals
        self._nondeterminism = nondeterminism
        self._audits = audits
        self._instances = instances
        self._blobs = blobs
        self._room = room
        self._results = results
        self._judge = judge
        self._dispatcher = dispatcher
        self._pins = Pins(
            instances,
            blobs=blobs,
            results=results,
            judge=judge,
            hits=hits,
            limits=limits,
            rerun=rerun,
        )
        self._begun = time.monotonic()

    async def GetStatus(
        self, request: admin_pb2.GetStatusRequest, context: Context
    ) -> admin_pb2.ServerStatus:
        status = admin_pb2.ServerStatus(
            version=version("holdfast"),
            store=self._store(),
            pins=admin_pb2.PinStatus(
                pins=self._results.count_pins(), conflicts=self._judge.settled[Verdict.CONFLICT]
            ),
            execution_enabled=self._dispatcher is not None,
        )
        status.uptime.FromMilliseconds(int((time.monotonic() - self._begun) * 1000))
        if self._dispatcher is not None:
            _add_scheduling(status, self._dispatcher)
        return status

    def _store(self) -> admin_pb2.StoreStatus:
        totals = self._room.totals()
        return admin_pb2.StoreStatus(
            bytes=totals.bytes,
            plain_bytes=totals.bytes + self._room.packed_totals().saved,
            blobs=totals.blobs,
            max_bytes=self._room.limits.max_bytes,
            evicted_blobs=self._room.evicted.blobs,
            evicted_bytes=self._room.evicted.bytes,
            quarantined_blobs=self._blobs.counters.quarantined,
        )

    async def CollectGarbage(
        self, request: admin_pb2.CollectGarbageRequest, context: Context
    ) -> admin_pb2.CollectGarbageResponse:
        limits = self._room.limits
        target = int(limits.low_water * limits.max_bytes)
        if request.HasField("target_bytes"):
            target = request.target_bytes
        if target < 0:
            raise Refused(f"target_bytes {target}: must be 0 or more")
        dropped = self._results.dropped
        gone = await self._room.evict(target)
        return admin_pb2.CollectGarbageResponse(
            evicted_blobs=gone.blobs,
            evicted_bytes=gone.bytes,
            dropped_results=self._results.dropped - dropped,
            bytes=self._room.totals().bytes,
        )

    async def GetPin(self, request: admin_pb2.GetPinRequest, context: Context) -> admin_pb2.Pin:
        key = self._key(request)
        return pin_message(key, await self._pins.get(key))

    async def ListPins(
        self, request: admin_pb2.ListPinsRequest, context: Context
    ) -> AsyncIterator[admin_pb2.Pin]:
        selection = selection_of(request.filter, self._instances)
        async for key, pin in self._pins.chosen(selection):
            yield pin_message(key, pin, brief=request.brief)

    async def ReplacePin(
        self, request: admin_pb2.ReplacePinRequest, context: Context
    ) -> admin_pb2.Pin:
        key = self._key(request)
        result = request.result if request.HasField("result") else None
        return pin_message(key, await self._pins.replace(key, result))

    async def DropPins(
        self, request: admin_pb2.DropPinsRequest, context: Context
    ) -> admin_pb2.DropPinsResponse:
        selection = selection_of(request.filter, self._instances)
        if not selection.narrow and not request.every:
            raise Refused("filter: it names no pins; set `every` if all of them are meant")
        dropped = await self._pins.drop(selection, dry_run=request.dry_run)
        return admin_pb2.DropPinsResponse(dropped=dropped)

    async def ImportPins(
        self, requests: AsyncIterator[admin_pb2.Pin], context: Context
    ) -> admin_pb2.ImportPinsResponse:
        return await self._pins.take_over(requests)

    async def ListProposals(
        self, request: admin_pb2.ListProposalsRequest, context: Context
    ) -> AsyncIterator[admin_pb2.Proposal]:
        async for proposal in self._proposals.chosen(request.filter, brief=request.brief):
            yield proposal

    async def ConfirmProposal(
        self, request: admin_pb2.ConfirmProposalRequest, context: Context
    ) -> admin_pb2.Pin:
        key = self._key(request)
        return pin_message(key, await self._proposals.confirm(key, request.writer))

    async def DropProposals(
        self, request: admin_pb2.DropProposalsRequest, context: Context
    ) -> admin_pb2.DropProposalsResponse:
        return admin_pb2.DropProposalsResponse(dropped=await self._proposals.drop(request.filter))

    async def Audit(
        self, request: admin_pb2.AuditRequest, context: Context
    ) -> AsyncIterator[admin_pb2.AuditProgress]:
        if self._audits is None:
            raise NotServed("nothing is executed here: execution.enabled is false")
        async for progress in self._audits.run(request):
            yield progress

    async def ListNondeterminism(
        self, request: admin_pb2.ListNondeterminismRequest, context: Context
    ) -> admin_pb2.ListNondeterminismResponse:
        return await self._nondeterminism.list(request)

    async def ExplainNondeterminism(
        self, request: admin_pb2.ExplainNondeterminismRequest, context: Context
    ) -> admin_pb2.Explanation:
        return await self._nondeterminism.explain(self._key(request))

    def _key(
        self,
        request: admin_pb2.GetPinRequest
        | admin_pb2.ReplacePinRequest
        | admin_pb2.ConfirmProposalRequest
        | admin_pb2.ExplainNondeterminismRequest,
    ) -> ActionKey:
        action = self._instances.digest(
            request.instance_name,
            request.digest_function,
            request.action_digest,
            field="action_digest",
        )
        return ActionKey(request.instance_name, action)


def _add_scheduling(status: admin_pb2.ServerStatus, dispatcher: Dispatcher) -> None:
    for required, waiting in dispatcher.depths().items():
        status.queues.add(platform=_platform(required), waiting=waiting)
    for worker in dispatcher.workers():
        status.workers.add(
            name=worker.name,
            platform=_platform(sorted(worker.platform.offered)),
            slots=worker.slots,
            running=worker.busy,
            draining=worker.draining,
        )


def _platform(pairs: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> reapi.Platform:
    return reapi.Platform(
        properties=[reapi.Platform.Property(name=name, value=value) for name, value in pairs]
    )
