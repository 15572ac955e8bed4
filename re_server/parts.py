"""What a server is made of."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from re_server.action_cache_service import ActionCacheService
from re_server.admin_service import AdminService
from re_server.asset_service import AssetServices
from re_server.bytestream_service import ByteStreamService
from re_server.capabilities_service import CapabilitiesService
from re_server.cas_service import CasService
from re_server.execution_service import ExecutionService
from re_server.gate import Gate
from re_server.http_cache import HttpCache
from re_server.log_stream_service import LogStreamService
from re_server.log_streams import LogStreams
from re_server.metrics import CallMetrics
from re_server.operations_service import OperationsService
from re_server.web_access import WebAccess
from re_server.workers_service import WorkersService
from scheduler.dispatch import Dispatcher


@dataclass(frozen=True, slots=True)
class ExecutionServices:
    """What is served where actions are executed."""

    execution: ExecutionService
    operations: OperationsService
    workers: WorkersService


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server is made of.

    http_cache, assets: None where they are not served. dispatcher, executing: None where the server
    is a cache alone. stopping: set when it begins to stop. drained: set when no action runs any
    more, and workers may go.
    """

    capabilities: CapabilitiesService
    cas: CasService
    byte_stream: ByteStreamService
    log_stream: LogStreamService
    action_cache: ActionCacheService
    http_cache: HttpCache | None
    admin: AdminService
    assets: AssetServices | None
    executing: ExecutionServices | None
    dispatcher: Dispatcher | None
    logs: LogStreams
    calls: CallMetrics
    gate: Gate
    web_access: WebAccess
    stopping: asyncio.Event
    drained: asyncio.Event
