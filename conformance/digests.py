"""The digest functions of the protocol, from their definitions.

Source: remote_execution.proto, message DigestFunction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from blake3 import blake3

from conformance.sha256tree import sha256tree
from protos import remote_execution_pb2 as reapi

_ENUM = reapi.DigestFunction


def _gitsha1(data: bytes) -> str:
    return _plain("sha1")(b"blob %d\0" % len(data) + data)


def _plain(name: str) -> Callable[[bytes], str]:
    def digest(data: bytes) -> str:
        return hashlib.new(name, data, usedforsecurity=False).hexdigest()

    return digest


@dataclass(frozen=True, slots=True)
class Function:
    """One digest function. hash: lower-case hexadecimal, of `length` characters."""

    value: reapi.DigestFunction.Value.ValueType
    hash: Callable[[bytes], str]
    length: int

    @property
    def name(self) -> str:
        """As it stands in resource names."""
        return reapi.DigestFunction.Value.Name(self.value).lower()

    @property
    def inferred(self) -> bool:
        """Whether requests may leave it out, and resource names must."""
        return self.value not in {_ENUM.SHA256TREE, _ENUM.BLAKE3, _ENUM.GITSHA1}

    def digest(self, data: bytes) -> reapi.Digest:
        return reapi.Digest(hash=self.hash(data), size_bytes=len(data))


FUNCTIONS: Mapping[reapi.DigestFunction.Value.ValueType, Function] = {
    function.value: function
    for function in (
        Function(_ENUM.SHA256, _plain("sha256"), 64),
        Function(_ENUM.SHA1, _plain("sha1"), 40),
        Function(_ENUM.MD5, _plain("md5"), 32),
        Function(_ENUM.SHA384, _plain("sha384"), 96),
        Function(_ENUM.SHA512, _plain("sha512"), 128),
        Function(_ENUM.SHA256TREE, lambda data: sha256tree(data).hex(), 64),
        Function(_ENUM.BLAKE3, lambda data: blake3(data).hexdigest(), 64),
        Function(_ENUM.GITSHA1, _gitsha1, 40),
    )
}
"""Those that can be computed here; VSO and MURMUR3 cannot."""


def key(digest: reapi.Digest) -> tuple[str, int]:
    """Return what digests can be compared and collected by."""
    return digest.hash, digest.size_bytes
