"""Who asks on the web port, and whether they may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from access.admission import Cost
from access.identity import EVERYBODY, Identity, Place, Right, Scope, current_identity
from access.refusal import NotAuthenticated, RightMissing, TooMuch
from re_client.status import RETRY_SECONDS
from re_server.authorisation import EVERY, Needed, authorise
from re_server.certificate_names import name_in_certificate
from re_server.gate import Gate
from re_server.refusals import Refusal

CHALLENGES = 'Basic realm="holdfast", Bearer'


@dataclass(frozen=True, slots=True)
class WebAccess:
    """The gate, as pages go through it. metrics: who may read /metrics, as `access.metrics`."""

    gate: Gate
    metrics: Literal["open", "granted"]

    async def authorised(
        self, request: web.Request, rights: tuple[Right, ...], place: Place
    ) -> Identity:
        """Return who asks, and have it stand in `current_identity`, if one of `rights` is there.

        Credentials are `Authorization: Bearer TOKEN`, Basic with the token as the password, as
        Bazel's HTTP cache and .netrc have it, or a client's certificate.
        Raises HTTPUnauthorized, HTTPForbidden, HTTPServiceUnavailable.
        """
        if self.gate.authenticator is None:
            current_identity.set(EVERYBODY)
            return EVERYBODY
        try:
            identity = await self._who(request)
            authorise(identity, Needed(rights, lambda _: place), place, self.gate.served)
        except NotAuthenticated as error:
            self._count(request, error)
            raise web.HTTPUnauthorized(
                text=f"{error}\n", headers={"WWW-Authenticate": CHALLENGES}
            ) from None
        except RightMissing as error:
            self._count(request, error)
            raise web.HTTPForbidden(text=f"{error}\n") from None
        except ConnectionError as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from None
        current_identity.set(identity)
        return identity

    @asynccontextmanager
    async def entered(
        self, request: web.Request, rights: tuple[Right, ...], place: Place, cost: Cost
    ) -> AsyncIterator[None]:
        """Answer a request in the block, as one of the calls under way.

        Raises what `authorised` does, and HTTPServiceUnavailable where there is no room.
        """
        identity = await self.authorised(request, rights, place)
        try:
            self.gate.admission.enter(identity, cost, 0)
        except TooMuch as error:
            self._count(request, error)
            raise web.HTTPServiceUnavailable(
                text=f"{error}\n", headers={"Retry-After": str(RETRY_SECONDS)}
            ) from None
        try:
            yield
        finally:
            self.gate.admission.leave(identity, 0)

    async def may_read_metrics(self, request: web.Request) -> None:
        """Raise what `authorised` does unless /metrics is for who asks."""
        if self.metrics == "granted":
            await self.authorised(request, EVERY, Scope.ANY)

    async def _who(self, request: web.Request) -> Identity:
        authenticator = self.gate.authenticator
        assert authenticator is not None
        credentials = request.headers.get("Authorization")
        if credentials is not None:
            return await authenticator.authenticate(credentials)
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        name = name_in_certificate(certificate, self.gate.certificate_name)
        return authenticator.anonymous if name is None else authenticator.certified(name)

    def _count(self, request: web.Request, refusal: Refusal) -> None:
        page = request.path.split("/")[1]  # what follows is the client's choice
        self.gate.refusals.refused(f"{request.method} /{page}", str(request.remote), refusal)
