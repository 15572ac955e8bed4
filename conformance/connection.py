"""From an address to a Target: a channel, and what the server says of itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
from grpc import StatusCode

from conformance import methods
from conformance.digests import FUNCTIONS, Function
from conformance.refusal import Refused
from conformance.target import Target
from protos import remote_execution_pb2 as reapi

_ADDRESS = re.compile(r"(?P<scheme>grpcs?)://(?P<target>(?:\[[0-9A-Fa-f:.]+\]|[^\[\]/:\s]+):\d+)/?")
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_metadata_size", 1 << 20),
)


class Unusable(Exception):
    """There is no server at the address that could be tested. The message says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and how it wants to be spoken to.

    server: grpc://HOST:PORT, or grpcs:// for TLS. authority: PEM of who signed its certificate;
    empty: the system's. metadata, platform, pid: as Target has them. connect_seconds: how long it
    may take to answer the first call.
    """

    server: str
    instance: str = ""
    authority: bytes = b""
    metadata: tuple[tuple[str, str], ...] = ()
    platform: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    connect_seconds: float = 10


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Target]:
    """Connect, and ask for the capabilities; raise Unusable."""
    async with _channel(address) as channel:
        capabilities = await _capabilities(channel, address)
        yield Target(
            channel,
            capabilities,
            _function(capabilities),
            instance=address.instance,
            metadata=address.metadata,
            platform=address.platform,
            pid=address.pid,
        )


def _channel(address: Address) -> grpc.aio.Channel:
    match = _ADDRESS.fullmatch(address.server)
    if match is None:
        raise Unusable(f"{address.server!r} is no address: write grpc://HOST:PORT or grpcs://…")
    if match["scheme"] == "grpcs" or address.authority:
        credentials = grpc.ssl_channel_credentials(address.authority or None)
        return grpc.aio.secure_channel(match["target"], credentials, options=_OPTIONS)
    return grpc.aio.insecure_channel(match["target"], options=_OPTIONS)


async def _capabilities(channel: grpc.aio.Channel, address: Address) -> reapi.ServerCapabilities:
    asked = Target(channel, reapi.ServerCapabilities(), next(iter(FUNCTIONS.values())))
    request = reapi.GetCapabilitiesRequest(instance_name=address.instance)
    try:
        async with asyncio.timeout(address.connect_seconds):
            return await asked.call(methods.GET_CAPABILITIES, request, metadata=address.metadata)
    except TimeoutError:
        said = f"does not answer GetCapabilities within {address.connect_seconds:g} s"
        raise Unusable(f"{address.server} {said}") from None
    except Refused as error:
        if error.code == StatusCode.UNAVAILABLE:
            raise Unusable(f"{address.server} cannot be reached: {error.message}") from None
        raise Unusable(f"{address.server} answered GetCapabilities with {error}") from None


def _function(capabilities: reapi.ServerCapabilities) -> Function:
    """Return the first announced function that can be computed here."""
    announced = announced_functions(capabilities)
    if not announced:
        raise Unusable("the server announces no digest function that this suite can compute")
    return announced[0]


def announced_functions(capabilities: reapi.ServerCapabilities) -> list[Function]:
    """Return all announced functions that can be computed here, in the server's order."""
    execution = capabilities.execution_capabilities
    values = (
        capabilities.cache_capabilities.digest_functions
        or execution.digest_functions
        or [execution.digest_function]
    )
    return [FUNCTIONS[value] for value in values if value in FUNCTIONS]
