"""The Admin service: what people who run the server ask of it."""

from __future__ import annotations

import time
from importlib.metadata import version

from action_cache.disk import DiskResults
from action_cache.results import ActionKey
from cas.disk import DiskStore
from cas.disk_room import Room
from determinism.judge import Judge
from determinism.policy import Verdict
from protos import admin_pb2, admin_pb2_grpc, remote_execution_pb2 as reapi
from re_client.status import NotServed, Refused
from re_server.instances import Instances
from re_server.rpc import Context
from scheduler.dispatch import Dispatcher


class AdminService(admin_pb2_grpc.AdminServicer):
    """holdfast.admin.v1.Admin. dispatcher: None where nothing is executed."""

    def __init__(
        self,
        instances: Instances,
        *,
        blobs: DiskStore,
        room: Room,
        results: DiskResults,
        judge: Judge,
        dispatcher: Dispatcher | None,
    ) -> None:
        self._instances = instances
        self._blobs = blobs
        self._room = room
        self._results = results
        self._judge = judge
        self._dispatcher = dispatcher
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
        action = self._instances.digest(
            request.instance_name,
            request.digest_function,
            request.action_digest,
            field="action_digest",
        )
        pin = await self._results.pin(ActionKey(request.instance_name, action))
        if pin is None:
            raise NotServed(f"action {action} of instance {request.instance_name!r} has no pin")
        result = pin.kept.result
        answer = admin_pb2.Pin(
            result=result,
            worker=result.execution_metadata.worker,
            revision=pin.revision,
            conflicts=pin.conflicts,
        )
        answer.pinned.FromNanoseconds(int(pin.first_seen * 1e9))
        return answer


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
