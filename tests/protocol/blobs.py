"""Blobs, digests and resource names, worked out without any code of the server's."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Mapping

from blake3 import blake3

from protos import remote_execution_pb2 as reapi
from tests.cas.test_sha256_tree import by_recursion

SHA256 = reapi.DigestFunction.SHA256
SHA1 = reapi.DigestFunction.SHA1
BLAKE3 = reapi.DigestFunction.BLAKE3
UNNAMED = reapi.DigestFunction.UNKNOWN
FUNCTIONS = (SHA256, BLAKE3, SHA1)
MD5 = reapi.DigestFunction.MD5
SHA384 = reapi.DigestFunction.SHA384
SHA512 = reapi.DigestFunction.SHA512
SHA256TREE = reapi.DigestFunction.SHA256TREE
GITSHA1 = reapi.DigestFunction.GITSHA1
ALL_FUNCTIONS = (*FUNCTIONS, MD5, SHA384, SHA512, SHA256TREE, GITSHA1)
NAMED = frozenset({BLAKE3, SHA256TREE, GITSHA1})  # in resource names: no length tells them apart
ZSTD = "zstd"
COMPRESSORS = (ZSTD, "deflate", "brotli")

_HASHES: Mapping[reapi.DigestFunction.Value.ValueType, Callable[[bytes], str]] = {
    SHA256: lambda data: hashlib.sha256(data).hexdigest(),
    SHA1: lambda data: hashlib.sha1(data).hexdigest(),
    BLAKE3: lambda data: blake3(data).hexdigest(),
    MD5: lambda data: hashlib.md5(data).hexdigest(),
    SHA384: lambda data: hashlib.sha384(data).hexdigest(),
    SHA512: lambda data: hashlib.sha512(data).hexdigest(),
    SHA256TREE: lambda data: by_recursion(data).hex(),
    GITSHA1: lambda data: hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
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
    """Name a blob for ByteStream.Read: the function stands in it where no length tells it."""
    kind = f"compressed-blobs/{compressor}" if compressor else "blobs"
    named = f"{name_of(function)}/" if function in NAMED else ""
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
