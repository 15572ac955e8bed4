"""An issuer of signed tokens."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://issuer.example", "holdfast"


class Signer:
    """Keys by id, and tokens signed with them."""

    def __init__(self) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey] = {}
        self.rotate("first")

    def rotate(self, name: str) -> None:
        self.keys = {name: ec.generate_private_key(ec.SECP256R1())}

    def add_rsa(self, name: str, bits: int = 2048) -> None:
        self.keys[name] = rsa.generate_private_key(65537, bits)

    def key_set(self, *more: dict[str, Any]) -> bytes:
        keys = [self.public(name) for name in self.keys]
        return json.dumps({"keys": [*keys, *more]}).encode()

    def public(self, name: str) -> dict[str, Any]:
        key = self.keys[name].public_key()
        if isinstance(key, rsa.RSAPublicKey):
            return {**RSAAlgorithm.to_jwk(key, as_dict=True), "kid": name, "use": "sig"}
        return {**ECAlgorithm.to_jwk(key, as_dict=True), "kid": name, "use": "sig"}

    def token(
        self, *, kid: str | None = None, algorithm: str = "ES256", drop: str = "", **claims: object
    ) -> str:
        """Sign claims that are right, but for those given or dropped."""
        now = int(time.time())
        usual: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "exp": now + 600,
            "iat": now,
        }
        said = {name: each for name, each in (usual | claims).items() if name != drop}
        name = kid or next(iter(self.keys))
        return jwt.encode(said, self.keys[name], algorithm=algorithm, headers={"kid": name})
