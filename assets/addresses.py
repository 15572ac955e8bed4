"""Addresses of hosts, so that what is to be public does not lead into the server's own network."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from assets.fault import OriginRefused, OriginUnreachable

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits


def is_public(text: str) -> bool:
    """Tell whether `text` is an address of the public internet, whatever is wrapped into it.

    Source: the IANA special-purpose address registries, as `ipaddress` has them; RFC 6052 and RFC
    3056 for addresses that hold others.
    """
    try:
        return _is_public(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return False


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return _is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


async def public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of `host`; raise OriginRefused if one of them is not public.

    All have to be: a name with both kinds is no public origin. Raises OriginUnreachable if the
    name has none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise OriginUnreachable(f"host {host}: {error.strerror or error}") from error
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    for address in addresses:
        check_public(host, address)
    return addresses


def check_public(host: str, address: str) -> None:
    """Raise OriginRefused unless `address`, of `host`, is public."""
    if not is_public(address):
        raise OriginRefused(
            f"host {host} is at {address}, which is not on the public internet; "
            "assets.allow_private lists origins for which that is meant"
        )


class PublicResolver(AbstractResolver):
    """Resolves names for aiohttp, which then connects to these addresses and no others."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await public_addresses(host, port)
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing that is held open."""
