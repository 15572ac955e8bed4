"""Digests, as the protocol writes them."""

from __future__ import annotations

from cas.digest import Digest, DigestFunction, InvalidDigest
from protos import remote_execution_pb2 as reapi

TO_WIRE = {
    DigestFunction.SHA256: reapi.DigestFunction.SHA256,
    DigestFunction.SHA1: reapi.DigestFunction.SHA1,
    DigestFunction.MD5: reapi.DigestFunction.MD5,
    DigestFunction.SHA384: reapi.DigestFunction.SHA384,
    DigestFunction.SHA512: reapi.DigestFunction.SHA512,
    DigestFunction.SHA256TREE: reapi.DigestFunction.SHA256TREE,
    DigestFunction.BLAKE3: reapi.DigestFunction.BLAKE3,
    DigestFunction.GITSHA1: reapi.DigestFunction.GITSHA1,
}
FROM_WIRE: dict[int, DigestFunction] = {number: function for function, number in TO_WIRE.items()}
# Functions that resource names and requests may leave out: their hash length tells them apart.
# Source: remote_execution.proto, service ContentAddressableStorage, and every digest_function.
INFERRED = frozenset(
    {
        DigestFunction.MD5,
        DigestFunction.SHA1,
        DigestFunction.SHA256,
        DigestFunction.SHA384,
        DigestFunction.SHA512,
    }
)
_BY_LENGTH = {function.hex_length: function for function in INFERRED}

# Source: remote_execution.proto, service ContentAddressableStorage: what parts of a resource name
# follow the instance name, and so may not be segments of it.
RESERVED_SEGMENTS = frozenset(
    {
        "blobs",
        "uploads",
        "actions",
        "actionResults",
        "operations",
        "capabilities",
        "compressed-blobs",
    }
)


def function_from(number: int, hash: str, default: DigestFunction) -> DigestFunction:
    """Settle a request's digest function.

    number: the request's field `digest_function`; 0 where the client left it out.
    hash: one of the request's hashes, whose length decides where `number` is 0.
    default: the instance's own function, which wins where several have that length.
    """
    if number:
        try:
            return FROM_WIRE[number]
        except KeyError:
            served = ", ".join(sorted(function.upper() for function in DigestFunction))
            raise InvalidDigest(
                f"digest_function {number} is not served here; use one of {served}"
            ) from None
    if len(hash) == default.hex_length:
        return default
    return _BY_LENGTH.get(len(hash), default)


def digest_from(message: reapi.Digest, function: DigestFunction) -> Digest:
    """Check and return a digest that came from outside; raise InvalidDigest."""
    return Digest.parse(message.hash, message.size_bytes, function)


def digest_to(digest: Digest) -> reapi.Digest:
    return reapi.Digest(hash=digest.hash, size_bytes=digest.size)
