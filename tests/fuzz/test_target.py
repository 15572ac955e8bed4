from __future__ import annotations

import asyncio

import pytest

from fuzz.target import Check, Target, attempts
from re_client.status import Refused


def at_fault(data: bytes) -> None:
    if data == b"refused":
        raise Refused
    assert data != b"broken"
    if data == b"lost":
        raise LookupError


async def at_fault_later(data: bytes) -> None:
    await asyncio.sleep(0)
    at_fault(data)


@pytest.mark.parametrize("check", [at_fault, at_fault_later])
def test_what_a_client_is_told_as_its_own_error_is_none_of_the_parsers(
    check: Check,
) -> None:
    with attempts(Target(check, lambda: ())) as attempt:
        attempt(b"good")
        attempt(b"refused")
        with pytest.raises(AssertionError):
            attempt(b"broken")
        with pytest.raises(LookupError):
            attempt(b"lost")
