"""Resource names, as ByteStream wants them."""

from __future__ import annotations

import uuid

from cas.digest import Digest
from cas.wire import INFERRED


def read_name(instance_name: str, digest: Digest) -> str:
    """Name a blob to read. Source: remote_execution.proto, service ContentAddressableStorage."""
    return "/".join([*_instance(instance_name), "blobs", _blob(digest)])


def write_name(instance_name: str, digest: Digest) -> str:
    """Name one upload of a blob, which can be resumed under the same name."""
    upload = f"uploads/{uuid.uuid4()}"
    return "/".join([*_instance(instance_name), upload, "blobs", _blob(digest)])


def _instance(name: str) -> list[str]:
    return [name] if name else []


def _blob(digest: Digest) -> str:
    """Write a digest; its function only where its length does not tell."""
    return str(digest) if digest.function in INFERRED else f"{digest.function}/{digest}"
