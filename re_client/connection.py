"""A channel to one server, and what every call on it has in common."""

from __future__ import annotations

import asyncio
import random
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TypeVar

import grpc.aio
from google.rpc.status_pb2 import Status

from access.addresses import is_loopback, split_address
from cas.digest import Digest
from protos import remote_execution_pb2 as reapi
from protos.remote_execution_pb2_grpc import CapabilitiesStub
from re_client.credentials import Credentials
from re_client.status import ServerFailed, from_status

MAX_MESSAGE_BYTES = 64 << 20  # of a reply; servers are asked for far less
KEEPALIVE_MS = 30_000
KEEPALIVE_TIMEOUT_MS = 10_000
CONNECT_MS = 5000  # one attempt to connect may take
RECONNECT_FIRST_MS, RECONNECT_LONGEST_MS = 100, 2000
DEFAULT_BATCH_BYTES = 4_000_000  # where the server announces none, and at most
METADATA_KEY = "build.bazel.remote.execution.v2.requestmetadata-bin"
STATUS_KEY = "grpc-status-details-bin"
# What a call ends with when its server is not there, and when it stops.
GONE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
# What gRPC itself says, in place of what the server said, when a message is still being sent while
# the call ends. How it ended is lost then: the next call finds out.
CUT_OFF = "Internal error from Core"
_ADDRESS = re.compile(
    r"(?:(?P<scheme>grpcs?)://)?(?P<target>(?:\[[0-9A-Fa-f:.]+\]|[^\[\]/:\s]+):\d{1,5})/?"
)

Request = TypeVar("Request")
Response = TypeVar("Response")


class InvalidServer(ValueError):
    """The address is none that can be connected to."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a server that cannot be reached is asked again.

    attempts: calls in a row that bring nothing before the last error is raised; at least 1.
    first_seconds, longest_seconds: pause after the first call, which then doubles, and its bound.
    """

    attempts: int = 8
    first_seconds: float = 0.1
    longest_seconds: float = 5

    async def pause(self, failed: int) -> None:
        """Wait after `failed` calls in a row, at random within a factor of 2."""
        longest = min(self.longest_seconds, self.first_seconds * 2 ** (failed - 1))
        await asyncio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311  nothing secret


@dataclass(frozen=True, slots=True)
class Connection:
    """One server.

    server: its address as people write it. headers: of every call. token: what the caller proves
    itself by; None for nothing.
    """

    channel: grpc.aio.Channel
    server: str
    headers: tuple[tuple[str, str | bytes], ...] = ()
    retry: Retry = field(default_factory=Retry)
    token: Callable[[], str] | None = field(default=None, repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Headers of a call that is made now."""
        if self.token is None:
            return self.headers
        return (*self.headers, ("authorization", f"Bearer {self.token()}"))

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        digest: Digest | None = None,
    ) -> Response:
        """Make one call, again while the server cannot be reached.

        digest: the blob that is to be kept, if one is.
        Raises ConnectionError when retries are used up, and what `from_status` returns.
        """
        failed = 0
        while True:
            try:
                return await method(request, metadata=self.metadata)
            except grpc.aio.AioRpcError as error:
                failed += 1
                await self.pause_or_raise(error, failed, digest=digest)

    async def pause_or_raise(
        self, error: grpc.aio.AioRpcError, failed: int, *, digest: Digest | None = None
    ) -> None:
        """Wait before the next try, or raise what `error` says if there is none.

        failed: calls in a row, this one included, that brought nothing.
        """
        if not is_gone(error) or failed >= self.retry.attempts:
            raise self.fact(error, digest=digest) from None
        await self.retry.pause(failed)

    def fact(self, error: grpc.aio.AioRpcError, *, digest: Digest | None = None) -> Exception:
        """Return what a failed call says, as the exception that a local store would raise."""
        status = status_of(error)
        if is_gone(error):
            return ConnectionError(f"{self.server} cannot be reached: {status.message}")
        return from_status(status, digest=digest)

    async def capabilities(self, instance_name: str) -> reapi.ServerCapabilities:
        """Ask what the server can do; raise ConnectionError, NotServed if it has no such instance.

        Source: remote_execution.proto, Capabilities.GetCapabilities.
        """
        request = reapi.GetCapabilitiesRequest(instance_name=instance_name)
        return await self.call(CapabilitiesStub(self.channel).GetCapabilities, request)


@contextmanager
def told_apart() -> Iterator[None]:
    """Raise AioRpcError where the server cancelled a call, as it does when it stops.

    gRPC raises CancelledError for that, which is to mean that this task was cancelled.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.CANCELLED,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(),
            details="the server has cancelled the call",
        ) from None


def is_gone(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether the call was cut off, so that it is worth another try."""
    return error.code() in GONE or (
        error.code() == grpc.StatusCode.INTERNAL and error.details() == CUT_OFF
    )


def status_of(error: grpc.aio.AioRpcError) -> Status:
    """Return the status of a failed call, with its details where the server sent some."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            return Status.FromString(value)
    number: int = error.code().value[0]
    return Status(code=number, message=error.details() or "")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. target: HOST:PORT."""

    target: str
    encrypted: bool


def address_of(server: str) -> Address:
    """Read grpcs://HOST:PORT, grpc://HOST:PORT or HOST:PORT; raise InvalidServer."""
    parsed = _ADDRESS.fullmatch(server)
    if parsed is None:
        raise InvalidServer(
            f"{server!r} is no server: write grpc://HOST:PORT, or grpcs://HOST:PORT with TLS"
        )
    return Address(parsed["target"], parsed["scheme"] == "grpcs")


@asynccontextmanager
async def connected(
    server: str, *, retry: Retry | None = None, credentials: Credentials | None = None
) -> AsyncIterator[Connection]:
    """Yield a connection to `server`, which is opened by the first call on it.

    server: as `address_of` reads it. Raises InvalidServer, InvalidCredentials.
    """
    proof = credentials or Credentials()
    address = address_of(server)
    if proof.token is not None and not address.encrypted:
        host, _ = split_address(address.target)
        if not is_loopback(host):
            raise InvalidServer(
                f"{server!r} is not encrypted, so that others could read the token: write grpcs://"
            )
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_LONGEST_MS),
        ("grpc.use_local_subchannel_pool", 1),  # connections fail and recover by themselves
    ]
    metadata = ((METADATA_KEY, request_metadata().SerializeToString()),)
    if address.encrypted:
        opened = grpc.aio.secure_channel(address.target, proof.channel(), options=options)
    else:
        opened = grpc.aio.insecure_channel(address.target, options=options)
    async with opened as channel:
        yield Connection(channel, server, metadata, retry or Retry(), proof.token)


def request_metadata() -> reapi.RequestMetadata:
    """Say who calls. Source: remote_execution.proto, message RequestMetadata."""
    return reapi.RequestMetadata(
        tool_details=reapi.ToolDetails(tool_name="holdfast", tool_version=version("holdfast")),
        tool_invocation_id=str(uuid.uuid4()),
    )


def batch_bytes(capabilities: reapi.ServerCapabilities) -> int:
    """Return how many bytes one batch call may have.

    A server that announces 0 has gRPC's own bound, 4 MiB for a message.
    Source: remote_execution.proto, CacheCapabilities.max_batch_total_size_bytes.
    """
    announced = capabilities.cache_capabilities.max_batch_total_size_bytes
    if announced < 0:
        raise ServerFailed(f"the server announces batches of {announced} bytes")
    return min(announced, DEFAULT_BATCH_BYTES) if announced else DEFAULT_BATCH_BYTES
