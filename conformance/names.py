"""Resource names of ByteStream.

Source: remote_execution.proto, service ContentAddressableStorage.
"""

from __future__ import annotations

import uuid

from conformance.digests import Function
from protos import remote_execution_pb2 as reapi

KEYWORDS = (
    "blobs",
    "uploads",
    "actions",
    "actionResults",
    "operations",
    "capabilities",
    "compressed-blobs",
)
"""Segments that no instance name may have."""


def read_name(
    digest: reapi.Digest, function: Function, *, instance: str = "", compressor: str = ""
) -> str:
    prefix = f"{instance}/" if instance else ""
    kind = f"compressed-blobs/{compressor}" if compressor else "blobs"
    return f"{prefix}{kind}/{_named(digest, function)}"


def write_name(
    digest: reapi.Digest,
    function: Function,
    *,
    instance: str = "",
    compressor: str = "",
    upload: str = "",
) -> str:
    """upload: the client's name for it, a version 4 UUID; a new one where it is empty."""
    prefix = f"{instance}/" if instance else ""
    blob = read_name(digest, function, compressor=compressor)
    return f"{prefix}uploads/{upload or uuid.uuid4()}/{blob}"


def missing_subject(digest: reapi.Digest, function: Function) -> str:
    """Return what a violation of type MISSING calls a blob."""
    return f"blobs/{_named(digest, function)}"


def _named(digest: reapi.Digest, function: Function) -> str:
    prefix = "" if function.inferred else f"{function.name}/"
    return f"{prefix}{digest.hash}/{digest.size_bytes}"
