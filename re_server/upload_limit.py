"""How large a blob may be that comes from outside."""

from __future__ import annotations

from dataclasses import dataclass

from access.identity import Right, current_identity
from cas.digest import Digest
from re_client.status import Refused
from re_client.worker_link import WORKER_HEADER
from re_server.rpc import Context


class BlobOverLimit(Refused):
    """A blob is larger than one that is uploaded may be."""


@dataclass(frozen=True, slots=True)
class UploadLimit:
    """max_bytes: of one blob, as announced; 0 is no limit."""

    max_bytes: int

    def check(self, digest: Digest, instance: str, context: Context | None) -> None:
        """Raise BlobOverLimit if `digest` may not be uploaded.

        context: of the call, None over HTTP. A worker's may: outputs have a bound of their own.
        Source: remote_execution.proto, CacheCapabilities.max_cas_blob_size_bytes.
        """
        if self.max_bytes and digest.size > self.max_bytes and not _is_worker(instance, context):
            raise BlobOverLimit(
                f"blob {digest} has {digest.size} bytes, more than the max_cas_blob_size_bytes of "
                f"{self.max_bytes} (server.max_blob_bytes)"
            )


def _is_worker(instance: str, context: Context | None) -> bool:
    if context is None:
        return False
    says_so = any(header == WORKER_HEADER for header, _ in context.invocation_metadata() or ())
    return says_so and current_identity.get().may(Right.WORK, instance)
