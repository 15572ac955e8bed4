"""Blobs, digests and resource names, worked out without any code of the server's."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Mapping

from blake3 import blake3

from protos import remote_execution_pb2 as reapi

SHA256 = reapi.DigestFunction.SHA256
SHA1 = reapi.DigestFunction.SHA1
BLAKE3 = reapi.DigestFunction.BLAKE3
UNNAMED = reapi.DigestFunction.UNKNOWN
FUNCTIONS = (SHA256, BLAKE3, SHA1)
ZSTD = "zstd"

_HASHES: Mapping[reapi.DigestFunction.Value.ValueType, Callable[[bytes], str]] = {
    SHA256: lambda data: hashlib.sha256(data).hexdigest(),
    SHA1: lambda data: hashlib.sha1(data).hexdigest(),
    BLAKE3: lambda data: blake3(data).hexdigest(),
}


def name_of(function: reapi.DigestFunction.Value.ValueType) -> str:
    return reapi.DigestFunction.Value.Name(function).lower()


def digest_of(data: bytes, function: reapi.DigestFunction.Value.ValueType = SHA256) -> reapi.Digest:
    return reapi.Digest(hash=_HASHES[function](data), size_bytes=len(data))


def unique(size: int = 100) -> bytes:
    """Return bytes that no other test has, and that do not compress."""
    return os.urandom(size)


def key(digest: reapi.Digest) -> tuple[str, int]:
    return digest.hash, digest.size_bytes


def read_name(
    digest: reapi.Digest,
    *,
    instance: str = "",
    function: reapi.DigestFunction.Value.ValueType = SHA256,
    compressor: str = "",
) -> str:
    """Name a blob for ByteStream.Read: the function stands in it for BLAKE3 alone."""
    kind = f"compressed-blobs/{compressor}" if compressor else "blobs"
    named = f"{name_of(function)}/" if function == BLAKE3 else ""
    prefix = f"{instance}/" if instance else ""
    return f"{prefix}{kind}/{named}{digest.hash}/{digest.size_bytes}"


def write_name(
    digest: reapi.Digest,
    *,
    instance: str = "",
    function: reapi.DigestFunction.Value.ValueType = SHA256,
    compressor: str = "",
    identity: str = "",
) -> str:
    """Name an upload for ByteStream.Write. identity: its uuid; a new one where it is empty."""
    prefix = f"{instance}/" if instance else ""
    rest = read_name(digest, function=function, compressor=compressor)
    return f"{prefix}uploads/{identity or uuid.uuid4()}/{rest}"
