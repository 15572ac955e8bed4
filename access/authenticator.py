"""From the credentials of a call to who calls."""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from access.followed import Followed
from access.identity import Identity
from access.keys import Keys
from access.policy import CERTIFICATE, TOKEN, USER, Policy, is_name
from access.refusal import Doubt, NotAuthenticated
from access.signed_tokens import Issuer, verified
from access.tokens import PREFIX, hashed

REMEMBERED = 10_000  # signed tokens whose signature need not be looked at again
MAX_CREDENTIAL = 64 * 1024  # characters, whatever the kind


@dataclass(frozen=True, slots=True)
class SignedTokens:
    """Signed tokens are taken: of whom, and by which keys."""

    issuer: Issuer
    keys: Keys


class Authenticator:
    """Knows callers by their tokens and certificates.

    tokens: names by hashes. signed: None where signed tokens are not taken. certificates: whether
    a client's certificate says who it is. clock: seconds since 1970.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        tokens: Followed[Mapping[bytes, str]] | None = None,
        signed: SignedTokens | None = None,
        certificates: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._tokens = tokens
        self._signed = signed
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()
        self._generation = 0
        self.certificates = certificates
        self.anonymous = policy.anonymous()

    def known(self, credentials: str) -> Identity | None:
        """Return who sends these, where that is known without looking into a signature.

        credentials: the value of the header `authorization`.
        """
        token = _bearer(credentials)
        if token is None:
            return None
        hash = hashed(token)
        if self._tokens is not None and (name := self._tokens.current().get(hash)):
            return self._policy.identity(TOKEN + name)
        if self._signed is None or self._signed.keys.generation != self._generation:
            return None
        remembered = self._remembered.get(hash)
        if remembered is None or remembered[1] <= self._clock():
            return None
        return remembered[0]

    async def authenticate(self, credentials: str) -> Identity:
        """Return who sends these. Raises NotAuthenticated, and Unfetchable where keys lack."""
        known = self.known(credentials)
        if known is not None:
            return known
        token = _bearer(credentials)
        if token is None:
            raise NotAuthenticated(
                Doubt.MALFORMED,
                "the header `authorization` must be `Bearer TOKEN`, or Basic with the token as "
                "password",
            )
        if self._signed is None or token.startswith(PREFIX) or token.count(".") != 2:  # noqa: PLR2004 - RFC 7515
            raise NotAuthenticated(Doubt.UNKNOWN, "the token is not known here")
        claims = await verified(token, self._signed.keys, self._signed.issuer)
        identity = self._policy.identity(USER + claims.name, claims.groups)
        self._remember(hashed(token), identity, claims.until)
        return identity

    def certified(self, name: str) -> Identity:
        """Return whom a verified certificate names; raise NotAuthenticated if it names nobody."""
        if not is_name(name):
            raise NotAuthenticated(
                Doubt.CLAIM, "the client's certificate has no name where names are looked for"
            )
        return self._policy.identity(CERTIFICATE + name)

    def _remember(self, hash: bytes, identity: Identity, until: float) -> None:
        assert self._signed is not None
        if self._signed.keys.generation != self._generation:
            self._generation = self._signed.keys.generation
            self._remembered.clear()
        self._remembered[hash] = (identity, until)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)


def _bearer(credentials: str) -> str | None:
    """Return the token in a header's value: of Bearer, or the password of Basic.

    Source: RFC 6750, section 2.1; RFC 7617, which Bazel sends what a .netrc has by.
    """
    scheme, _, value = credentials.strip().partition(" ")
    value = value.strip()
    if not value or len(value) > MAX_CREDENTIAL:
        return None
    match scheme.lower():
        case "bearer":
            return value
        case "basic":
            try:
                _, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, ValueError):
                return None
            return password if colon and password else None
        case _:
            return None
