"""The public keys that tokens are signed with."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from access.refusal import Doubt, NotAuthenticated

log = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
UNKNOWN_SECONDS = 10.0  # between two fetches that unknown keys cause: anybody can name one
MAX_SET_BYTES = 1 << 20
LEAST_RSA_BITS = 2048

PublicKey: TypeAlias = (
    rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
)
Fetch = Callable[[], Awaitable[bytes]]


class Unfetchable(ConnectionError):
    """The set of keys cannot be had."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. id, algorithm: None where the set does not say."""

    id: str | None
    algorithm: str | None
    public: PublicKey


class Keys:
    """A JSON Web Key Set, fetched now and then; the last good one stays.

    fetch: brings the set's bytes; raises Unfetchable. Source: RFC 7517.
    """

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[Key, ...] = ()
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()
        self._last = b""
        self.generation = 0
        """Rises when keys change: what was verified with earlier ones is to be looked at again."""

    async def find(self, key_id: str | None) -> Key:
        """Return the key of this id; where a token names none, the only one.

        Raises NotAuthenticated, and Unfetchable where no set was ever had.
        """
        found = self._known(key_id)
        fetched_lately = self._clock() - self._fetched < UNKNOWN_SECONDS
        if found is None and (self._fetching.locked() or not fetched_lately):
            await self.refresh()
            found = self._known(key_id)
        if found is not None:
            return found
        if not self._keys:
            raise Unfetchable("the keys that tokens are signed with cannot be had just now")
        raise NotAuthenticated(Doubt.KEY, "the token is signed with a key that is not known here")

    async def refresh(self) -> None:
        """Fetch the set; log it where that fails."""
        asked = self._clock()
        async with self._fetching:
            if self._fetched >= asked:
                return  # another call has just done it
            try:
                data = await self._fetch()
                if data != self._last:
                    self._keys = usable(data)
                    self._last = data
                    self.generation += 1
            except (Unfetchable, ValueError) as error:
                log.warning("the set of keys stays as it was: %s", error)
            finally:
                self._fetched = self._clock()

    async def keep(self) -> None:
        """Refresh for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def _known(self, key_id: str | None) -> Key | None:
        if key_id is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.id == key_id), None)


def usable(data: bytes) -> tuple[Key, ...]:
    """Return the public keys for signatures of a set; raise ValueError if there is none.

    Others are left out: a set with a secret key is a mistake, and what is signed with a secret that
    was published must not count. Source: RFC 7517; RFC 8725, section 2.1.
    """
    if len(data) > MAX_SET_BYTES:
        raise ValueError(f"the set of keys has more than {MAX_SET_BYTES} bytes")
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("the set of keys is not JSON") from None
    listed = said.get("keys") if isinstance(said, dict) else None
    found = tuple(
        key
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict) and (key := _key(each)) is not None
    )
    if not found:
        raise ValueError("the set has no public key for signatures")
    return found


def _key(said: dict[str, object]) -> Key | None:
    if said.get("use", "sig") != "sig":
        return None
    try:
        public = jwt.PyJWK(said).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if not isinstance(public, PublicKey):
        return None
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < LEAST_RSA_BITS:
        return None
    name, algorithm = said.get("kid"), said.get("alg")
    return Key(
        name if isinstance(name, str) else None,
        algorithm if isinstance(algorithm, str) else None,
        public,
    )
