"""Signed tokens, JSON Web Tokens, of an issuer that is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jwt

from access.keys import Keys
from access.policy import is_name
from access.refusal import Doubt, NotAuthenticated

_REQUIRED = ("exp", "iss", "aud")

# What PyJWT finds, in the words that the caller is told. Signatures are checked before claims, so
# that these tell nothing of a token that is forged.
_DOUBTS: tuple[tuple[type[jwt.InvalidTokenError], Doubt, str], ...] = (
    (jwt.ExpiredSignatureError, Doubt.EXPIRED, "the token has expired"),
    (jwt.ImmatureSignatureError, Doubt.EARLY, "the token is not valid yet"),
    (jwt.InvalidAudienceError, Doubt.AUDIENCE, "the token is for another audience"),
    (jwt.InvalidIssuerError, Doubt.ISSUER, "the token is of another issuer"),
    (jwt.InvalidSignatureError, Doubt.SIGNATURE, "the token's signature is wrong"),
    (jwt.MissingRequiredClaimError, Doubt.CLAIM, "the token lacks one of exp, iss, aud"),
)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken, and how they are read.

    algorithms: asymmetric ones. leeway_seconds: what clocks may differ.
    name_claim: the caller's name. groups_claim: a text or a list of them; "" for no groups.
    """

    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    leeway_seconds: float
    max_bytes: int
    name_claim: str
    groups_claim: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token proves. until: seconds since 1970."""

    name: str
    groups: frozenset[str]
    until: float


async def verified(token: str, keys: Keys, trusted: Issuer) -> Claims:
    """Return what `token` proves; raise NotAuthenticated, and Unfetchable where there are no keys.

    Source: RFC 7519, and RFC 8725 on what goes wrong: the algorithm is held to those that are
    allowed and to the key's own, and what the header says of where keys are is not looked at.
    """
    if len(token) > trusted.max_bytes:
        raise NotAuthenticated(
            Doubt.MALFORMED, f"the token has more than {trusted.max_bytes} characters"
        )
    try:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in trusted.algorithms:
            allowed = ", ".join(trusted.algorithms)
            raise NotAuthenticated(
                Doubt.MALFORMED, f"the token's algorithm is not one of {allowed}"
            )
        key = await keys.find(header.get("kid"))
        if key.algorithm not in {None, algorithm}:
            raise NotAuthenticated(
                Doubt.SIGNATURE, "the token's algorithm is not that of the key it is signed with"
            )
        claims = jwt.decode(
            token,
            key.public,
            algorithms=[algorithm],
            audience=trusted.audiences,
            issuer=trusted.issuer,
            leeway=trusted.leeway_seconds,
            options={"require": list(_REQUIRED)},
        )
    except jwt.InvalidTokenError as error:
        raise _doubted(error) from None
    except (jwt.InvalidKeyError, TypeError, ValueError):
        raise NotAuthenticated(Doubt.SIGNATURE, "the token does not fit its key") from None
    return _claims(claims, trusted)


def _doubted(error: jwt.InvalidTokenError) -> NotAuthenticated:
    for kind, doubt, message in _DOUBTS:
        if isinstance(error, kind):
            return NotAuthenticated(doubt, message)
    return NotAuthenticated(Doubt.MALFORMED, "the token cannot be read")


def _claims(claims: Mapping[str, object], trusted: Issuer) -> Claims:
    name = claims.get(trusted.name_claim)
    if not isinstance(name, str) or not is_name(name):
        raise NotAuthenticated(
            Doubt.CLAIM, f"the token's claim {trusted.name_claim!r} names nobody"
        )
    said = claims.get(trusted.groups_claim) if trusted.groups_claim else None
    groups = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    until = claims["exp"]
    assert isinstance(until, int | float)  # the library has looked
    return Claims(
        name,
        frozenset(group for group in groups if isinstance(group, str)),
        until + trusted.leeway_seconds,
    )
