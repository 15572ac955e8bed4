"""The parts of a server, put together from a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from prometheus_client import CollectorRegistry

from access.authenticator import Authenticator
from cas.disk_open import OpenStore
from determinism.ledger.store import Ledger
from re_config.bounds import scheduler_limits
from re_config.schema import Config
from re_server.access_assembly import gate_of
from re_server.action_cache_service import ActionCacheService
from re_server.action_keys import ActionKeys
from re_server.admin_service import AdminService
from re_server.asset_service import asset_services
from re_server.auditing import Auditor
from re_server.audits import Audits
from re_server.background import background
from re_server.bytestream_service import ByteStreamService
from re_server.capabilities_service import CapabilitiesService
from re_server.cas_service import CasService
from re_server.chunked import chunked_blobs, chunkings
from re_server.consumption import Consumption
from re_server.determinism_metrics import DeterminismCollector
from re_server.execution_service import ExecutionService
from re_server.http_cache import HttpCache
from re_server.inquiry import Inquiry
from re_server.live_output import LiveOutputs
from re_server.log_stream_service import LogBytes, LogStreamService
from re_server.log_streams import LogStreams
from re_server.metrics import CallMetrics, ExecutionMetrics, HttpMetrics, StateCollector
from re_server.nondeterminism import Nondeterminism
from re_server.open_writes import OpenWrites
from re_server.operations_service import OperationsService
from re_server.parts import ExecutionServices, Parts
from re_server.proposal_metrics import ProposalCollector
from re_server.proposals import Proposals
from re_server.proposing import Proposing
from re_server.refusals import Refusals
from re_server.reruns import Reruns
from re_server.result_uploads import ResultUploads
from re_server.settlement import Settlement
from re_server.shared import Shared, shared_parts
from re_server.verifying import Verifier
from re_server.web_access import WebAccess
from re_server.workers_service import WorkersService
from scheduler.dispatch import Dispatcher
from scheduler.platform import Requirement


@asynccontextmanager
async def assembled(
    config: Config,
    store: OpenStore,
    ledger: Ledger | None,
    logs: LogStreams,
    registry: CollectorRegistry,
    *,
    authenticator: Authenticator | None,
) -> AsyncIterator[Parts]:
    """Put a server together over an open store; its scheduler runs during the block.

    ledger: None where none is kept. authenticator: None where callers are not told apart.
    """
    shared = shared_parts(config, store, ledger)
    writes = OpenWrites(store.blobs, shared.admission, max_open=config.server.max_open_writes)
    executions = ExecutionMetrics(registry)
    dispatcher = _dispatcher(config, store, shared, executions, LiveOutputs(logs, store.blobs))
    gate = gate_of(config, shared.admission, dispatcher, Refusals(registry), authenticator)
    web_access = WebAccess(gate, metrics=config.access.metrics)
    reruns = _reruns(config, store, shared, dispatcher)
    _look_into(config, store, shared, reruns)
    _count_state(
        registry,
        store,
        shared,
        writes=writes,
        logs=logs,
        dispatcher=dispatcher,
        label=executions.label,
    )
    drained = asyncio.Event()
    uploads = _result_uploads(config, store, shared)
    async with asset_services(config, store, shared.instances, registry) as assets:
        parts = Parts(
            capabilities=_capabilities_service(config, shared, executes=dispatcher is not None),
            cas=_cas_service(config, store, shared),
            byte_stream=ByteStreamService(
                shared.instances, store.blobs, writes, LogBytes(logs), shared.upload_limit
            ),
            log_stream=LogStreamService(shared.instances, logs),
            action_cache=_action_cache_service(config, store, shared, uploads),
            http_cache=_http_cache(
                config, store, shared, uploads, access=web_access, registry=registry
            ),
            admin=_admin_service(store, shared, dispatcher, reruns),
            assets=assets,
            executing=_execution_services(config, store, shared, dispatcher, drained),
            dispatcher=dispatcher,
            logs=logs,
            calls=CallMetrics(registry),
            gate=gate,
            web_access=web_access,
            stopping=asyncio.Event(),
            drained=drained,
        )
        loops = background(*shared.afterwards.loops(parts.stopping))
        dispatching = dispatcher.running() if dispatcher else nullcontext()
        async with writes.closing(), dispatching, loops:
            yield parts


def _count_state(
    registry: CollectorRegistry,
    store: OpenStore,
    shared: Shared,
    *,
    writes: OpenWrites,
    logs: LogStreams,
    dispatcher: Dispatcher | None,
    label: Callable[[Requirement], str],
) -> None:
    registry.register(
        StateCollector(
            store=store,
            cache=shared.cache,
            judge=shared.judge,
            count_pins=shared.results.count_pins,
            writes=writes,
            logs=logs,
            admission=shared.admission,
            dispatcher=dispatcher,
            label=label,
        )
    )
    registry.register(DeterminismCollector(shared.witness, shared.afterwards.rulings))
    registry.register(
        ProposalCollector(
            shared.results.proposals, shared.judge, shared.overlay, shared.afterwards.reviewed
        )
    )


def _admin_service(
    store: OpenStore, shared: Shared, dispatcher: Dispatcher | None, reruns: Reruns | None
) -> AdminService:
    ledger, auditor = shared.witness.ledger, shared.afterwards.auditor
    return AdminService(
        shared.instances,
        blobs=store.blobs,
        room=store.room,
        results=shared.results,
        judge=shared.judge,
        dispatcher=dispatcher,
        hits=shared.hits,
        limits=shared.limits,
        rerun=partial(reruns.run, priority=0) if reruns else None,
        nondeterminism=Nondeterminism(ledger, shared.results),
        audits=Audits(shared.instances, ledger, auditor) if auditor else None,
        proposals=Proposals(
            shared.instances,
            blobs=store.blobs,
            results=shared.results,
            judge=shared.judge,
            hits=shared.hits,
            limits=shared.limits,
            witness=shared.witness,
        ),
    )


def _reruns(
    config: Config, store: OpenStore, shared: Shared, dispatcher: Dispatcher | None
) -> Reruns | None:
    if dispatcher is None:
        return None
    return Reruns(
        dispatcher,
        store.blobs,
        shared.instances,
        config.execution,
        shared.witness.formats_for,
        config.limits.message_blob_bytes,
    )


def _look_into(config: Config, store: OpenStore, shared: Shared, reruns: Reruns | None) -> None:
    """Have settled results looked into in the background."""
    settings, witness, blobs = config.determinism, shared.witness, store.blobs
    arbiter = reruns if settings.arbitrate else None
    shared.afterwards.inquiry = Inquiry(witness, blobs, shared.limits, arbiter)
    if witness.ledger is not None:
        shared.afterwards.consumption = Consumption(witness.ledger, blobs, shared.limits)
    if reruns is not None:
        audit = settings.audit
        shared.afterwards.auditor = Auditor(
            reruns, witness, blobs, shared.limits, settings=audit, pins=shared.results.pin
        )
        shared.afterwards.verifier = Verifier(
            reruns,
            shared.judge,
            shared.hits,
            witness,
            blobs=blobs,
            limits=shared.limits,
            settings=settings.proposals,
        )


def _capabilities_service(config: Config, shared: Shared, *, executes: bool) -> CapabilitiesService:
    return CapabilitiesService(
        shared.instances,
        config.server.max_batch_bytes,
        config.server.max_blob_bytes,
        executes=executes,
        chunkings=chunkings(config.chunking),
    )


def _cas_service(config: Config, store: OpenStore, shared: Shared) -> CasService:
    return CasService(
        shared.instances,
        store.blobs,
        shared.presence,
        remembered_bytes=config.store.inline_bytes,
        max_batch_bytes=config.server.max_batch_bytes,
        limit=shared.upload_limit,
        limits=shared.limits,
        chunked=chunked_blobs(config.chunking, store, shared.instances),
    )


def _action_cache_service(
    config: Config, store: OpenStore, shared: Shared, uploads: ResultUploads
) -> ActionCacheService:
    return ActionCacheService(
        shared.instances,
        store.blobs,
        shared.overlay,
        uploads,
        shared.hits,
        keys=ActionKeys(store.blobs, shared.results),
        remembered_bytes=config.store.inline_bytes,
        max_inline_bytes=config.server.max_inline_bytes,
        witness=shared.witness,
    )


def _result_uploads(config: Config, store: OpenStore, shared: Shared) -> ResultUploads:
    return ResultUploads(
        store.blobs,
        shared.judge,
        shared.hits,
        max_message_bytes=config.limits.message_blob_bytes,
        limits=shared.limits,
        witness=shared.witness,
        proposing=Proposing(
            shared.judge, shared.hits, shared.witness, waiting=shared.afterwards.proposed
        ),
        compared=shared.afterwards.uploaded,
    )


def _http_cache(
    config: Config,
    store: OpenStore,
    shared: Shared,
    uploads: ResultUploads,
    *,
    access: WebAccess,
    registry: CollectorRegistry,
) -> HttpCache | None:
    if not config.server.http_cache:
        return None
    return HttpCache(
        shared.instances,
        store.blobs,
        ActionKeys(store.blobs, shared.results),
        shared.overlay,
        uploads,
        access=access,
        hit=shared.witness.hit,
        answered=HttpMetrics(registry).answered,
        limit=shared.upload_limit,
        max_result_bytes=config.limits.message_blob_bytes,
    )


def _dispatcher(
    config: Config,
    store: OpenStore,
    shared: Shared,
    executions: ExecutionMetrics,
    live: LiveOutputs,
) -> Dispatcher | None:
    if not config.execution.enabled:
        return None
    settlement = Settlement(
        store.blobs,
        shared.judge,
        shared.hits,
        shared.limits,
        shared.witness,
        counted=executions.counted,
        settled=shared.afterwards.executed,
    )
    return Dispatcher(
        settle=settlement.settle,
        limits=scheduler_limits(config.execution),
        open_output=live.open,
        on_start=executions.started,
    )


def _execution_services(
    config: Config,
    store: OpenStore,
    shared: Shared,
    dispatcher: Dispatcher | None,
    drained: asyncio.Event,
) -> ExecutionServices | None:
    if dispatcher is None:
        return None
    return ExecutionServices(
        ExecutionService(
            shared.instances,
            store.blobs,
            shared.overlay,
            dispatcher,
            config.execution,
            admission=shared.admission,
            max_message_bytes=config.limits.message_blob_bytes,
            max_inline_bytes=config.server.max_inline_bytes,
            limits=shared.limits,
            witness=shared.witness,
        ),
        OperationsService(dispatcher),
        WorkersService(dispatcher, drained),
    )
