"""How Buck2's open-source client connects, what it sends with every call, and when it tries again.

What the classes of this package do follows that client's behaviour as it can be observed and read
in its public sources; what it does not do (name a digest function, resume, wait for an execution)
is not done here either.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc as reapi_grpc
from tests.buck2.compression import Compression, choose

Reply = TypeVar("Reply")
Metadata = tuple[tuple[str, str | bytes], ...]

DEFAULT_BATCH_BYTES = 4_000_000
ENGINE_MESSAGE_BYTES = 4 << 20  # its gRPC library's default, which stays for these services
ATTEMPTS = 5
FIRST_WAIT_SECONDS = 0.1
RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
}


class InfrastructureError(Exception):
    """What Buck2 reports as a failure of remote execution, and not of the action.

    code: number of a google.rpc.Code. A call's own status is UNKNOWN to it, whatever it was.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Settings:
    """The section [buck2_re_client] of a .buckconfig, by its own names; the rest is default."""

    instance_name: str = ""
    http_headers: Mapping[str, str] = field(default_factory=dict)
    capabilities: bool = True
    use_fbcode_metadata: bool = False
    max_total_batch_size: int = DEFAULT_BATCH_BYTES
    find_missing_blobs_batch_size: int = 100
    grpc_keepalive_time_secs: int = 30
    grpc_keepalive_timeout_secs: int = 10
    grpc_keepalive_while_idle: bool = True


@dataclass(frozen=True, slots=True)
class Connection:
    """Two channels, since Buck2 bounds the messages of its services differently.

    engine: Capabilities, Execution and ActionCache. cas: the store and ByteStream.
    batch_bytes: blobs below this size go in batches, of less than this in all.
    metadata: what comes with every call but GetCapabilities.
    """

    engine: grpc.aio.Channel
    cas: grpc.aio.Channel
    settings: Settings
    batch_bytes: int
    compression: Compression | None
    metadata: Metadata

    @property
    def prefix(self) -> str:
        """What resource names begin with."""
        return f"{self.settings.instance_name}/" if self.settings.instance_name else ""


@asynccontextmanager
async def connected(
    address: str, settings: Settings | None = None, *, build_id: str | None = None
) -> AsyncIterator[Connection]:
    """Do what the start of a command does: connect, and read the server's capabilities.

    build_id: what the user sees as Build ID; a new one where it is None.
    """
    settings = settings or Settings()
    headers = tuple(settings.http_headers.items())
    options = _keepalive(settings)
    bounds = (("grpc.max_receive_message_length", ENGINE_MESSAGE_BYTES),)
    async with grpc.aio.insecure_channel(address, options=options + bounds) as engine:
        announced = reapi.CacheCapabilities()
        if settings.capabilities:
            announced = await _capabilities(engine, settings, headers)
        batch_bytes = min(
            announced.max_batch_total_size_bytes or settings.max_total_batch_size,
            settings.max_total_batch_size,
        )
        cas_bounds = (
            ("grpc.max_receive_message_length", 2 * batch_bytes),
            ("grpc.max_send_message_length", -1),
        )
        async with grpc.aio.insecure_channel(address, options=options + cas_bounds) as cas:
            yield Connection(
                engine=engine,
                cas=cas,
                settings=settings,
                batch_bytes=batch_bytes,
                compression=choose(announced.supported_compressors),
                metadata=(*headers, request_metadata(settings, build_id)),
            )


def _keepalive(settings: Settings) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_time_secs * 1000),
        ("grpc.keepalive_timeout_ms", settings.grpc_keepalive_timeout_secs * 1000),
        ("grpc.keepalive_permit_without_calls", int(settings.grpc_keepalive_while_idle)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, as another process has
    )


async def _capabilities(
    engine: grpc.aio.Channel, settings: Settings, headers: Metadata
) -> reapi.CacheCapabilities:
    """Ask for the capabilities. All of the rest of the answer is ignored."""
    stub = reapi_grpc.CapabilitiesStub(engine)
    request = reapi.GetCapabilitiesRequest(instance_name=settings.instance_name)
    answer = await stub.GetCapabilities(request, metadata=headers)
    return answer.cache_capabilities


def request_metadata(settings: Settings, build_id: str | None) -> tuple[str, bytes]:
    """Return the header that says which command a call belongs to; no target is ever in it."""
    if settings.use_fbcode_metadata:
        return "re-metadata-bin", b"\x0a\x05buck2"
    message = reapi.RequestMetadata(
        tool_details=reapi.ToolDetails(tool_name="buck2", tool_version="0.1.0"),
        tool_invocation_id=str(uuid.uuid4()) if build_id is None else build_id,
    )
    name = "build.bazel.remote.execution.v2.requestmetadata-bin"
    return name, message.SerializeToString()


async def retried(call: Callable[[], Awaitable[Reply]]) -> Reply:
    """Make `call`, up to five times where the server is overloaded or away.

    Raises InfrastructureError with code UNKNOWN for whatever status the call ends with.
    """
    wait_seconds = FIRST_WAIT_SECONDS
    for attempt in range(ATTEMPTS):
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in RETRIED or attempt == ATTEMPTS - 1:
                raise InfrastructureError(
                    grpc.StatusCode.UNKNOWN.value[0],
                    f"{error.code().name}: {error.details()}",
                ) from error
        await asyncio.sleep(wait_seconds)
        wait_seconds *= 2
    raise AssertionError("unreachable: the last attempt returns or raises")
