from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from access.authenticator import Authenticator, SignedTokens
from access.identity import CallerLimits, Right
from access.keys import UNKNOWN_SECONDS, Keys, Unfetchable, usable
from access.policy import Grant, Policy
from access.refusal import Doubt, NotAuthenticated
from access.signed_tokens import Issuer, verified
from tests.access.signing import AUDIENCE, ISSUER, Signer

TRUSTED = Issuer(ISSUER, (AUDIENCE,), ("ES256", "RS256"), 600, 4096, "sub", "groups")
LIMITS = CallerLimits(1, 1, 1, 1)
NOW = int(time.time())


class Source:
    """A set of keys that can be fetched, or not, and a clock."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data
        self.fetched = 0
        self.now = 1000.0

    async def fetch(self) -> bytes:
        self.fetched += 1
        if self.data is None:
            raise Unfetchable("nobody is there")
        return self.data

    def keys(self) -> Keys:
        return Keys(self.fetch, clock=lambda: self.now)


def keys_of(signer: Signer, *more: dict[str, str]) -> Keys:
    return Source(signer.key_set(*more)).keys()


async def doubt(proving: Awaitable[object]) -> Doubt:
    with pytest.raises(NotAuthenticated) as caught:
        await proving
    return caught.value.reason


async def test_a_token_proves_a_name_and_groups() -> None:
    signer = Signer()
    token = signer.token(groups=["ci", 7, "admins"], exp=NOW + 60)
    claims = await verified(token, keys_of(signer), TRUSTED)
    assert claims.name == "alice"
    assert claims.groups == frozenset({"ci", "admins"})
    assert claims.until == NOW + 660


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW - 3600}, Doubt.EXPIRED),
        ({"nbf": NOW + 3600}, Doubt.EARLY),
        ({"iat": NOW + 3600}, Doubt.EARLY),
        ({"aud": "another"}, Doubt.AUDIENCE),
        ({"aud": ["another", "third"]}, Doubt.AUDIENCE),
        ({"iss": "https://evil.example"}, Doubt.ISSUER),
        ({"sub": ""}, Doubt.CLAIM),
        ({"sub": "two\nlines"}, Doubt.CLAIM),
        ({"sub": "x" * 300}, Doubt.CLAIM),
        ({"drop": "sub"}, Doubt.CLAIM),
        ({"drop": "exp"}, Doubt.CLAIM),
        ({"drop": "aud"}, Doubt.CLAIM),
        ({"drop": "iss"}, Doubt.CLAIM),
        ({"pad": "x" * 5000}, Doubt.MALFORMED),
    ],
)
async def test_claims_that_are_not_right_prove_nothing(
    claims: dict[str, str], reason: Doubt
) -> None:
    signer = Signer()
    token = signer.token(**claims)
    assert await doubt(verified(token, keys_of(signer), TRUSTED)) is reason


async def test_clocks_may_differ_by_the_leeway() -> None:
    signer = Signer()
    token = signer.token(exp=NOW - 60, nbf=NOW + 60)
    assert (await verified(token, keys_of(signer), TRUSTED)).name == "alice"


def _coded(said: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


async def proves_nothing(forged: str, signer: Signer) -> None:
    assert await doubt(verified(forged, keys_of(signer), TRUSTED)) in {
        Doubt.MALFORMED,
        Doubt.SIGNATURE,
        Doubt.KEY,
    }


def _unsigned(signer: Signer) -> str:
    return jwt.encode({"sub": "eve"}, "", algorithm="none", headers={"kid": "first"})


def _with_the_public_key_as_secret(signer: Signer) -> str:
    """Forge what a server takes that lets the token choose between HMAC and RSA."""
    signer.add_rsa("rsa")
    pem = (
        signer.keys["rsa"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    claims: dict[str, object] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": NOW + 600}
    signed = f"{_coded({'alg': 'HS256', 'kid': 'rsa'})}.{_coded(claims)}"
    seal = base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), hashlib.sha256))
    return f"{signed}.{seal.decode().rstrip('=')}"


def _with_its_own_key(signer: Signer) -> str:
    own = Signer()
    return jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": NOW + 600},
        own.keys["first"],
        algorithm="ES256",
        headers={"kid": "first", "jwk": own.public("first"), "jku": "https://evil.example/keys"},
    )


def _with_another_algorithm(signer: Signer) -> str:
    signer.add_rsa("rsa")
    return signer.token(kid="rsa", algorithm="PS256")


def _with_a_critical_extension(signer: Signer) -> str:
    return jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": NOW + 600},
        signer.keys["first"],
        algorithm="ES256",
        headers={"kid": "first", "crit": ["exotic"], "exotic": 1},
    )


def _changed(signer: Signer) -> str:
    head, _, seal = signer.token().split(".")
    forged = {"iss": ISSUER, "aud": AUDIENCE, "sub": "root", "exp": NOW + 600}
    return f"{head}.{_coded(forged)}.{seal}"


@pytest.mark.parametrize(
    "forge",
    [
        _unsigned,
        _with_the_public_key_as_secret,
        _with_its_own_key,
        _with_another_algorithm,
        _with_a_critical_extension,
        _changed,
    ],
)
async def test_a_forged_token_proves_nothing(forge: Callable[[Signer], str]) -> None:
    signer = Signer()
    await proves_nothing(forge(signer), signer)


@pytest.mark.parametrize(
    "garbage",
    [
        "a.b.c",
        "..",
        "\u00e9.\u00e9.\u00e9",
        _coded({"alg": "ES256", "kid": 7}) + ".e30.e30",
        _coded({"alg": ["ES256"]}) + ".e30.e30",
        base64.urlsafe_b64encode(b"[" * 900).decode() + ".e30.e30",
    ],
)
async def test_what_is_no_token_proves_nothing(garbage: str) -> None:
    await proves_nothing(garbage, Signer())


def test_secret_weak_and_unfit_keys_of_a_set_are_left_out() -> None:
    signer = Signer()
    signer.add_rsa("weak", 1024)
    private = {**signer.public("first"), "kid": "private", "d": "AAAA"}
    secret = {"kty": "oct", "kid": "secret", "k": "AAAA"}
    sealing = {**signer.public("first"), "kid": "sealing", "use": "enc"}
    found = usable(signer.key_set(secret, private, sealing, {"kty": "EC"}, {"kty": "new"}))
    assert [key.id for key in found] == ["first"]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b"[" * 100_000, b"x" * (2 << 20)]
)
def test_what_is_no_set_of_keys_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="set"):
        usable(data)


async def test_a_new_key_is_fetched_when_a_token_names_it_and_not_more_often_than_that() -> None:
    signer = Signer()
    source = Source(signer.key_set())
    keys = source.keys()
    await verified(signer.token(), keys, TRUSTED)
    signer.rotate("second")
    source.data = signer.key_set()
    for _ in range(20):
        assert await doubt(verified(signer.token(), keys, TRUSTED)) is Doubt.KEY
    assert source.fetched == 1
    source.now += UNKNOWN_SECONDS
    assert (await verified(signer.token(), keys, TRUSTED)).name == "alice"
    assert source.fetched == 2


@pytest.mark.parametrize("broken", [None, b"", b"<html>"])
async def test_the_last_good_keys_stay_where_no_new_ones_can_be_had(broken: bytes | None) -> None:
    signer = Signer()
    source = Source(signer.key_set())
    keys = source.keys()
    await keys.refresh()
    source.data = broken
    source.now += 1000
    await keys.refresh()
    assert (await verified(signer.token(), keys, TRUSTED)).name == "alice"


async def test_where_there_never_were_keys_the_server_is_at_fault_and_not_the_token() -> None:
    source = Source(b"")
    with pytest.raises(Unfetchable):
        await verified(Signer().token(), source.keys(), TRUSTED)


def authenticator(keys: Keys, clock: Callable[[], float] = time.time) -> Authenticator:
    grant = Grant(frozenset({"group:ci"}), ("*",), frozenset({Right.CACHE_WRITE}))
    return Authenticator(Policy([grant], LIMITS), signed=SignedTokens(TRUSTED, keys), clock=clock)


async def test_what_was_verified_is_known_until_it_expires() -> None:
    signer = Signer()
    now = [time.time()]
    known = authenticator(keys_of(signer), lambda: now[0])
    sent = f"Bearer {signer.token(groups='ci')}"
    assert known.known(sent) is None
    identity = await known.authenticate(sent)
    assert identity.name == "user:alice"
    assert identity.may(Right.CACHE_WRITE, "any")
    assert known.known(sent) is identity
    assert known.known(f"{sent}x") is None
    now[0] += 3600
    assert known.known(sent) is None


async def test_what_was_verified_with_a_key_that_was_withdrawn_is_looked_at_again() -> None:
    signer = Signer()
    source = Source(signer.key_set())
    keys = source.keys()
    known = authenticator(keys)
    sent = f"bearer {signer.token()}"
    await known.authenticate(sent)
    signer.rotate("second")
    source.data = signer.key_set()
    source.now += 1
    await keys.refresh()
    assert known.known(sent) is None
    assert await doubt(known.authenticate(sent)) is Doubt.KEY


async def test_a_token_is_the_password_of_basic_credentials_too() -> None:
    signer = Signer()
    known = authenticator(keys_of(signer))
    pair = base64.b64encode(f"anything:{signer.token()}".encode()).decode()
    assert (await known.authenticate(f"Basic {pair}")).name == "user:alice"


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("", Doubt.MALFORMED),
        ("Bearer", Doubt.MALFORMED),
        ("Bearer  ", Doubt.MALFORMED),
        ("Digest x", Doubt.MALFORMED),
        ("Basic !!", Doubt.MALFORMED),
        ("Basic " + base64.b64encode(b"no colon").decode(), Doubt.MALFORMED),
        ("Basic " + base64.b64encode(b"empty:").decode(), Doubt.MALFORMED),
        ("Bearer " + "x" * 100_000, Doubt.MALFORMED),
        ("Bearer holdfast_abc", Doubt.UNKNOWN),
        ("Bearer abc", Doubt.UNKNOWN),
    ],
)
async def test_credentials_that_are_none_are_refused(sent: str, reason: Doubt) -> None:
    known = authenticator(keys_of(Signer()))
    assert known.known(sent) is None
    assert await doubt(known.authenticate(sent)) is reason
