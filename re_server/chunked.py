"""SplitBlob and SpliceBlob: blobs by their chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cas.chunking.fast_cdc import FastCdc
from cas.chunking.rep_max_cdc import RepMaxCdc
from cas.disk_open import OpenStore
from cas.splicing import Splicer
from cas.splits import Splits
from cas.splitting import Chunkings, Splitter
from cas.wire import TO_WIRE, digest_to
from protos import remote_execution_pb2 as reapi
from re_config.chunking_tables import Chunking
from re_server.instances import Instances


@dataclass(frozen=True, slots=True)
class ChunkedBlobs:
    """The two calls. max_seconds: bound on each."""

    instances: Instances
    splitter: Splitter
    splicer: Splicer
    max_seconds: float

    async def split(self, request: reapi.SplitBlobRequest) -> reapi.SplitBlobResponse:
        blob = self.instances.digest(
            request.instance_name,
            request.digest_function,
            request.blob_digest,
            field="blob_digest",
        )
        async with self._bounded("SplitBlob"):
            split = await self.splitter.split(blob, request.chunking_function)
        return reapi.SplitBlobResponse(
            chunk_digests=map(digest_to, split.chunks),
            chunking_function=reapi.ChunkingFunction.Value.ValueType(split.function),
        )

    async def splice(self, request: reapi.SpliceBlobRequest) -> reapi.SpliceBlobResponse:
        name, number = request.instance_name, request.digest_function
        blob = self.instances.digest(name, number, request.blob_digest, field="blob_digest")
        chunks = self.instances.digests(
            name, TO_WIRE[blob.function], request.chunk_digests, field="chunk_digests"
        )
        async with self._bounded("SpliceBlob"):
            await self.splicer.splice(blob, chunks, request.chunking_function)
        return reapi.SpliceBlobResponse(blob_digest=digest_to(blob))

    @asynccontextmanager
    async def _bounded(self, call: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.max_seconds):
                yield
        except TimeoutError:
            raise TimeoutError(
                f"{call} took more than chunking.max_seconds = {self.max_seconds:g}; raise it, or "
                "use ByteStream for this blob"
            ) from None


def chunkings(config: Chunking) -> Chunkings | None:
    """Return how blobs are cut, None where they are not."""
    if not config.enabled:
        return None
    fast, rep_max = config.fast_cdc, config.rep_max_cdc
    return Chunkings(
        FastCdc(fast.average_bytes, fast.seed),
        RepMaxCdc(rep_max.min_bytes, rep_max.horizon_bytes),
    )


def chunked_blobs(config: Chunking, store: OpenStore, instances: Instances) -> ChunkedBlobs | None:
    """Return what serves the two calls, None where they are not served."""
    splits = Splits(store.environment, store.index)  # lists go with their blobs, served or not
    cuts = chunkings(config)
    if cuts is None:
        return None
    at_once, most = asyncio.Semaphore(config.max_concurrent), config.max_chunks
    return ChunkedBlobs(
        instances,
        Splitter(store.blobs, splits, store.room, cuts, at_once=at_once, max_chunks=most),
        Splicer(store.blobs, splits, cuts, at_once=at_once, max_chunks=most),
        config.max_seconds,
    )
