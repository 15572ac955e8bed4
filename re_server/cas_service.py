"""The ContentAddressableStorage service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from google.rpc.status_pb2 import Status

from cas.digest import Digest, InvalidDigest
from cas.names import Presence, digest_of_name, framed, names_in
from cas.store import BlobNotFound, BlobStore
from cas.tree import TreeLimits
from cas.wire import digest_to
from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc
from re_client.status import NotOffered, Refused, to_status
from re_server.get_tree import pages
from re_server.instances import Instances
from re_server.rpc import Context

_OK = Status()


class CasService(remote_execution_pb2_grpc.ContentAddressableStorageServicer):
    """build.bazel.remote.execution.v2.ContentAddressableStorage.

    presence: what of the store need not be looked up again. remembered_bytes: blobs up to this
    size are remembered in it; larger ones are files, which are looked at each time.
    max_batch_bytes: bound on one call's blobs.
    """

    raw_methods = frozenset({"FindMissingBlobs"})

    def __init__(
        self,
        instances: Instances,
        blobs: BlobStore,
        presence: Presence,
        *,
        remembered_bytes: int,
        max_batch_bytes: int,
        limits: TreeLimits,
    ) -> None:
        self._instances = instances
        self._blobs = blobs
        self._presence = presence
        self._remembered_bytes = remembered_bytes
        self._max_batch_bytes = max_batch_bytes
        self._limits = limits

    async def FindMissingBlobs(self, request: bytes, context: Context) -> bytes:  # type: ignore[override]  # raw, see names.py
        cut = names_in(request, function_field=3)
        if cut is None or not cut[2]:
            return (await self._find_missing(request)).SerializeToString()
        instance, number, names = cut
        function = self._instances.function(instance, number, names[0][:64].decode())
        generation = self._presence.generation
        unknown = set(names) - self._presence.known(function)
        if not unknown:
            return b""
        asked = {digest_of_name(name, function): name for name in unknown}
        missing = await self._blobs.find_missing(asked)
        small = self._remembered_bytes
        self._presence.add(
            function,
            [asked[digest] for digest in asked if digest not in missing and digest.size <= small],
            generation,
        )
        return b"".join(framed(asked[digest]) for digest in missing)

    async def _find_missing(self, raw: bytes) -> reapi.FindMissingBlobsResponse:
        request = reapi.FindMissingBlobsRequest.FromString(raw)
        digests = self._instances.digests(
            request.instance_name,
            request.digest_function,
            request.blob_digests,
            field="blob_digests",
        )
        missing = await self._blobs.find_missing(digests)
        return reapi.FindMissingBlobsResponse(
            missing_blob_digests=[digest_to(digest) for digest in missing]
        )

    async def BatchUpdateBlobs(
        self, request: reapi.BatchUpdateBlobsRequest, context: Context
    ) -> reapi.BatchUpdateBlobsResponse:
        """Keep each blob, or say of it why not.

        Source: remote_execution.proto, BatchUpdateBlobs: errors are told blob by blob; those of
        the whole request, such as its size, end the call.
        """
        self._bound(sum(len(each.data) for each in request.requests))
        named: list[Digest | None] = []
        wanted: dict[Digest, bytes] = {}
        response = reapi.BatchUpdateBlobsResponse()
        for at, each in enumerate(request.requests):
            status = _OK
            digest = None
            try:
                digest = self._update_digest(request, at)
                wanted[digest] = each.data
            except (InvalidDigest, Refused) as error:
                status = to_status(error)
            named.append(digest)
            response.responses.add(digest=each.digest, status=status)
        failed = await self._blobs.write_many(wanted)
        if failed:
            for reply, known in zip(response.responses, named, strict=True):
                if known is not None and known in failed:
                    reply.status.CopyFrom(to_status(failed[known]))
        return response

    def _update_digest(self, request: reapi.BatchUpdateBlobsRequest, at: int) -> Digest:
        each = request.requests[at]
        if each.compressor != reapi.Compressor.IDENTITY:
            raise Refused(f"requests[{at}].compressor: batches are not compressed here")
        return self._instances.digest(
            request.instance_name,
            request.digest_function,
            each.digest,
            field=f"requests[{at}].digest",
        )

    async def BatchReadBlobs(
        self, request: reapi.BatchReadBlobsRequest, context: Context
    ) -> reapi.BatchReadBlobsResponse:
        digests = self._instances.digests(
            request.instance_name, request.digest_function, request.digests, field="digests"
        )
        self._bound(sum(digest.size for digest in digests))
        found = await self._blobs.read_many(digests)
        response = reapi.BatchReadBlobsResponse()
        for message, digest in zip(request.digests, digests, strict=True):
            _answer(response, message, digest, found)
        return response

    async def GetTree(
        self, request: reapi.GetTreeRequest, context: Context
    ) -> AsyncIterator[reapi.GetTreeResponse]:
        root = self._instances.digest(
            request.instance_name,
            request.digest_function,
            request.root_digest,
            field="root_digest",
        )
        found = pages(
            self._blobs,
            root,
            page_size=request.page_size,
            page_token=request.page_token,
            limits=self._limits,
        )
        async for page in found:
            yield page

    async def SplitBlob(
        self, request: reapi.SplitBlobRequest, context: Context
    ) -> reapi.SplitBlobResponse:
        raise NotOffered("SplitBlob: not served here; the capabilities do not announce it")

    async def SpliceBlob(
        self, request: reapi.SpliceBlobRequest, context: Context
    ) -> reapi.SpliceBlobResponse:
        raise NotOffered("SpliceBlob: not served here; the capabilities do not announce it")

    def _bound(self, total: int) -> None:
        if total > self._max_batch_bytes:
            raise Refused(
                f"the blobs of this batch have {total} bytes, more than the "
                f"max_batch_total_size_bytes of {self._max_batch_bytes}; use ByteStream"
            )


def _answer(
    response: reapi.BatchReadBlobsResponse,
    message: reapi.Digest,
    digest: Digest,
    found: Mapping[Digest, bytes],
) -> None:
    if digest.size == 0 or digest in found:
        response.responses.add(digest=message, data=found.get(digest, b""))
    else:
        response.responses.add(digest=message, status=to_status(BlobNotFound(digest)))
