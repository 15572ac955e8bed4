"""Addresses, and who can reach them."""

from __future__ import annotations

import ipaddress


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT; brackets around an IPv6 host are taken off."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`. Other names than localhost are not asked."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
