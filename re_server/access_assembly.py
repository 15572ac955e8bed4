"""Who may do what, put together from a configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from access.admission import Admission, ServerLimits
from access.authenticator import Authenticator, SignedTokens
from access.followed import Followed
from access.identity import CallerLimits, Right
from access.keys import MAX_SET_BYTES, Fetch, Keys, Unfetchable
from access.pace import LeastPace
from access.policy import ROLES, Grant, Policy
from access.signed_tokens import Issuer
from access.tokens import read_tokens
from re_config import access_tables as tables
from re_config.load import InvalidConfig, expanded
from re_config.schema import Config
from re_server.authorisation import table
from re_server.background import background
from re_server.gate import Gate
from re_server.refusals import Refusals
from scheduler.dispatch import Dispatcher

FETCH_SECONDS = 10.0


def admission_of(config: Config) -> Admission:
    limits = config.server.admission
    return Admission(ServerLimits(limits.calls, limits.bytes_in_flight))


def gate_of(
    config: Config,
    admission: Admission,
    dispatcher: Dispatcher | None,
    refusals: Refusals,
    authenticator: Authenticator | None,
) -> Gate:
    limits = config.server.admission
    return Gate(
        table(dispatcher),
        admission,
        LeastPace(limits.stall_seconds, limits.stall_bytes),
        refusals,
        authenticator,
        config.access.client_certificates,
        tuple(config.instances),
    )


@asynccontextmanager
async def authenticating(access: tables.Access) -> AsyncIterator[Authenticator | None]:
    """Yield what knows callers, None where access control is off; keys are kept fresh meanwhile.

    Raises InvalidConfig where the file of tokens is not usable.
    """
    if not access.is_on:
        yield None
        return
    keys = Keys(_fetch(access.jwt.keys)) if access.jwt.keys else None
    authenticator = Authenticator(
        policy_of(access),
        tokens=_tokens(access.tokens),
        signed=SignedTokens(_issuer(access.jwt), keys) if keys is not None else None,
        certificates=access.client_certificates != "no",
    )
    async with background(*([keys.keep()] if keys is not None else [])):
        yield authenticator


def policy_of(access: tables.Access) -> Policy:
    usual = access.limits
    limits = CallerLimits(usual.calls, usual.bytes_in_flight, usual.executions, usual.open_writes)
    return Policy((_grant(each, limits) for each in access.grants), limits)


def _grant(grant: tables.Grant, usual: CallerLimits) -> Grant:
    rights: set[Right] = set()
    for named in grant.rights:
        rights |= ROLES[named] if named in ROLES else {Right(named)}
    limits = CallerLimits(
        grant.limits.get("calls", usual.calls),
        grant.limits.get("bytes_in_flight", usual.bytes_in_flight),
        grant.limits.get("executions", usual.executions),
        grant.limits.get("open_writes", usual.open_writes),
    )
    return Grant(
        frozenset(grant.who),
        grant.instances,
        frozenset(rights),
        limits if grant.limits else None,
    )


def _issuer(jwt: tables.Jwt) -> Issuer:
    return Issuer(
        jwt.issuer,
        jwt.audiences,
        jwt.algorithms,
        jwt.leeway_seconds,
        jwt.max_bytes,
        jwt.name_claim,
        jwt.groups_claim,
    )


def _tokens(path: str) -> Followed[Mapping[bytes, str]] | None:
    if not path:
        return None
    file = expanded(path)
    try:
        return Followed((file,), lambda: read_tokens(file))
    except OSError as error:
        raise InvalidConfig(
            f"access.tokens {path} cannot be read: {error.strerror}; `holdfast token new NAME` "
            "prints a line for it"
        ) from None
    except ValueError as error:
        raise InvalidConfig(f"access.tokens: {error}") from None


def _fetch(keys: str) -> Fetch:
    return _fetch_address(keys) if "://" in keys else _fetch_file(keys)


def _fetch_file(path: str) -> Fetch:
    file = expanded(path)

    async def fetch() -> bytes:
        try:
            return await asyncio.to_thread(file.read_bytes)
        except OSError as error:
            raise Unfetchable(f"access.jwt.keys {path}: {error.strerror}") from None

    return fetch


def _fetch_address(address: str) -> Fetch:
    async def fetch() -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
                session.get(address, allow_redirects=False) as response,
            ):
                response.raise_for_status()
                data = bytearray()
                async for chunk in response.content.iter_any():
                    data += chunk
                    if len(data) > MAX_SET_BYTES:
                        break
                return bytes(data)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unfetchable(f"access.jwt.keys {address}: {error!r}") from None

    return fetch
