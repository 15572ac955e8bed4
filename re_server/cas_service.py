"""The ContentAddressableStorage service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import chain

from cas.digest import Digest, DigestFunction, InvalidDigest
from cas.names import HASH_CHARACTERS, HASH_FRAME, Presence, cut, digest_in, framed, name_in
from cas.store import BlobNotFound, BlobStore
from cas.tree import TreeLimits, is_empty
from cas.wire import TO_WIRE, digest_to
from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc
from re_client.status import NotOffered, Refused, to_status
from re_server.batches import (
    Packed,
    packed_entries,
    read_entry,
    read_failure,
    unpack,
    update_entry,
    update_failure,
)
from re_server.chunked import ChunkedBlobs
from re_server.compression.codec import Codec
from re_server.compression.codecs import codec_numbered, preferred
from re_server.get_tree import pages
from re_server.instances import Instances
from re_server.rpc import Context
from re_server.turns import turns
from re_server.upload_limit import UploadLimit


class CasService(remote_execution_pb2_grpc.ContentAddressableStorageServicer):
    """build.bazel.remote.execution.v2.ContentAddressableStorage.

    presence: what of the store need not be looked up again. remembered_bytes: blobs up to this
    size are remembered in it; larger ones are files, which are looked at each time.
    max_batch_bytes: bound on one call's blobs, uncompressed. limit: bound on one blob's upload.
    chunked: None where blobs are not split and spliced.
    """

    raw_methods = frozenset({"FindMissingBlobs", "BatchUpdateBlobs", "BatchReadBlobs"})

    def __init__(
        self,
        instances: Instances,
        blobs: BlobStore,
        presence: Presence,
        *,
        remembered_bytes: int,
        max_batch_bytes: int,
        limit: UploadLimit,
        limits: TreeLimits,
        chunked: ChunkedBlobs | None,
    ) -> None:
        self._instances = instances
        self._blobs = blobs
        self._presence = presence
        self._remembered_bytes = remembered_bytes
        self._max_batch_bytes = max_batch_bytes
        self._limit = limit
        self._limits = limits
        self._chunked = chunked

    async def FindMissingBlobs(self, request: bytes, context: Context) -> bytes:  # type: ignore[override]  # raw, see names.py
        asked = cut(request, function_field=3)
        if asked is None:
            return await self._find_missing(request)
        hash = asked.pieces[0][:HASH_CHARACTERS].decode(errors="replace")
        function = self._instances.function(asked.instance, asked.function, hash)
        if self._presence.known(function).issuperset(asked.pieces):
            return b""
        found: list[bytes] = []
        async for pieces in turns(asked.pieces):
            missing = await self._missing_of(pieces, function)
            if missing is None:
                return await self._find_missing(request)
            found += map(framed, missing)
        return b"".join(found)

    async def _missing_of(
        self, pieces: Iterable[bytes], function: DigestFunction
    ) -> Collection[Digest] | None:
        """Return the blobs that are missing of `pieces`; None if one is not in the usual form."""
        generation = self._presence.generation
        known = self._presence.known(function)
        asked_for: dict[Digest, tuple[bytes, bytes]] = {}
        for piece in pieces:
            if piece not in known:
                if (name := name_in(piece)) is None:
                    return None
                asked_for[digest_in(piece, function)] = (piece, name)
        missing = await self._blobs.find_missing(asked_for)
        small = self._remembered_bytes
        there = (digest for digest in asked_for if digest not in missing and digest.size <= small)
        forms = chain.from_iterable(asked_for[digest] for digest in there)
        self._presence.add(function, forms, generation)
        return missing

    async def _find_missing(self, raw: bytes) -> bytes:
        request = reapi.FindMissingBlobsRequest.FromString(raw)
        reply = reapi.FindMissingBlobsResponse()
        digests = await self._digests(
            request.instance_name,
            request.digest_function,
            request.blob_digests,
            field="blob_digests",
        )
        async for some in turns(digests):
            reply.missing_blob_digests.extend(map(digest_to, await self._blobs.find_missing(some)))
        return reply.SerializeToString()

    async def _digests(
        self, name: str, number: int, messages: Sequence[reapi.Digest], *, field: str
    ) -> list[Digest]:
        """Check digests as `Instances.digests` does, however many they are."""
        digests: list[Digest] = []
        async for some in turns(messages):
            settled = TO_WIRE[digests[0].function] if digests else number
            digests += self._instances.digests(name, settled, some, field=field, first=len(digests))
        return digests

    async def BatchUpdateBlobs(self, request: bytes, context: Context) -> bytes:  # type: ignore[override]  # raw, see batches.py
        """Keep each blob, or say of it why not.

        Source: remote_execution.proto, BatchUpdateBlobs: errors are told blob by blob; those of
        the whole request, such as its size, end the call.
        """
        parsed = reapi.BatchUpdateBlobsRequest.FromString(request)
        if len(request) > self._max_batch_bytes:
            self._bound(sum(len(each.data) for each in parsed.requests))
        hash = parsed.requests[0].digest.hash if parsed.requests else ""
        function = self._instances.function(parsed.instance_name, parsed.digest_function, hash)
        known = self._presence.known(function)
        answers: list[bytes] = []
        wanted: dict[Digest, bytes] = {}
        packed: list[Packed] = []
        places: dict[Digest, list[int]] = {}
        for at, each in enumerate(parsed.requests):
            said = each.digest.SerializeToString()
            answers.append(update_entry(said))
            data = each.data
            try:
                codec = _codec(each.compressor, at) if each.compressor else None
                if said[2:] in known and (codec or len(data) == each.digest.size_bytes):
                    continue
                digest = _usual(said, function) or self._update_digest(parsed, at)
                self._limit.check(digest, parsed.instance_name, context)
                places.setdefault(digest, []).append(at)
                if codec:
                    packed.append(Packed(digest, data, codec))
                else:
                    wanted[digest] = data
            except (InvalidDigest, Refused) as error:
                answers[at] = update_failure(said, to_status(error))
        for digest, reason in (await self._keep(wanted, packed)).items():
            said = digest_to(digest).SerializeToString()
            for at in places[digest]:
                answers[at] = update_failure(said, to_status(reason))
        return b"".join(answers)

    async def _keep(
        self, blobs: dict[Digest, bytes], packed: Collection[Packed]
    ) -> dict[Digest, Exception]:
        """Keep `blobs`, and what `packed` stands for; return what went wrong with some.

        What is packed is taken apart in a thread: 4 MB take up to 30 ms.
        """
        failed: dict[Digest, Exception] = {}
        if packed:
            self._bound(sum(map(len, blobs.values())) + sum(each.digest.size for each in packed))
            unpacked, failed = await asyncio.to_thread(unpack, packed)
            blobs |= unpacked
        return failed | await self._blobs.write_many(blobs) if blobs else failed

    def _update_digest(self, request: reapi.BatchUpdateBlobsRequest, at: int) -> Digest:
        return self._instances.digest(
            request.instance_name,
            request.digest_function,
            request.requests[at].digest,
            field=f"requests[{at}].digest",
        )

    async def BatchReadBlobs(self, request: bytes, context: Context) -> bytes:  # type: ignore[override]  # raw, see batches.py
        """Send each blob, compressed where the client accepts it and it gets smaller."""
        digests, codec = await self._read_digests(request)
        self._bound(sum([digest.size for digest in digests]))
        entries: list[bytes] = []
        async for some in turns(digests):
            entries += await self._read_entries(some, codec)
        return b"".join(entries)

    async def _read_entries(self, digests: Collection[Digest], codec: Codec | None) -> list[bytes]:
        if codec:
            found, missing = await self._read_packed(digests, codec)
        else:
            found, missing = await self._blobs.read_joined(digests, read_entry)
        others = [
            read_entry(digest)
            if is_empty(digest)
            else read_failure(digest, to_status(BlobNotFound(digest)))
            for digest in missing
        ]
        return [found, *others]

    async def _read_packed(
        self, digests: Collection[Digest], codec: Codec
    ) -> tuple[bytes, list[Digest]]:
        """Return the entries of those that are there, and those that are not."""
        found = await self._blobs.read_many(digests)
        entries = await asyncio.to_thread(packed_entries, found, codec)
        missing = [digest for digest in digests if digest not in found]
        return b"".join([entries[digest] for digest in digests if digest in found]), missing

    async def _read_digests(self, request: bytes) -> tuple[list[Digest], Codec | None]:
        """Return what is asked for, and how it is to be compressed, if it is."""
        asked = cut(request, function_field=4)
        if asked is not None:
            hash = asked.pieces[0][:HASH_CHARACTERS].decode(errors="replace")
            function = self._instances.function(asked.instance, asked.function, hash)
            with suppress(InvalidDigest):
                digests: list[Digest] = []
                async for pieces in turns(asked.pieces):
                    digests += [digest_in(piece, function) for piece in pieces]
                return digests, None
        parsed = reapi.BatchReadBlobsRequest.FromString(request)
        digests = await self._digests(
            parsed.instance_name, parsed.digest_function, parsed.digests, field="digests"
        )
        return digests, preferred(parsed.acceptable_compressors)

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
        return await self._offered("SplitBlob").split(request)

    async def SpliceBlob(
        self, request: reapi.SpliceBlobRequest, context: Context
    ) -> reapi.SpliceBlobResponse:
        chunked = self._offered("SpliceBlob")
        name, function = request.instance_name, request.digest_function
        blob = self._instances.digest(name, function, request.blob_digest, field="blob_digest")
        self._limit.check(blob, name, context)
        return await chunked.splice(request)

    def _offered(self, method: str) -> ChunkedBlobs:
        if self._chunked is None:
            raise NotOffered(f"{method}: not served here; the capabilities do not announce it")
        return self._chunked

    def _bound(self, total: int) -> None:
        if total > self._max_batch_bytes:
            raise Refused(
                f"the blobs of this batch have {total} bytes, more than the "
                f"max_batch_total_size_bytes of {self._max_batch_bytes}; use ByteStream"
            )


def _usual(said: bytes, function: DigestFunction) -> Digest | None:
    """Return the digest that is serialised in `said`, where it is of a usual form."""
    if said[:2] != HASH_FRAME or name_in(said[2:]) is None:
        return None
    return digest_in(said[2:], function)


def _codec(compressor: int, at: int) -> Codec:
    try:
        return codec_numbered(compressor)
    except Refused as error:
        raise Refused(f"requests[{at}].compressor: {error}") from None
