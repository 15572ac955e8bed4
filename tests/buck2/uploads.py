"""How Buck2 uploads: ask what is missing, then small blobs in batches and the others by stream."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from google.rpc import code_pb2

from protos import (
    bytestream_pb2,
    bytestream_pb2_grpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as reapi_grpc,
)
from tests.buck2.connection import Connection, InfrastructureError, retried

CAS_TTL_SECONDS = 10_800  # how long Buck2 believes what was reported present
FILE_PIECE_BYTES = 2 << 20  # what one read of a file gives at most

Key = tuple[str, int]


def key(digest: reapi.Digest) -> Key:
    return digest.hash, digest.size_bytes


async def get_digests_ttl(
    connection: Connection, digests: Sequence[reapi.Digest]
) -> dict[Key, int]:
    """Ask for `digests`, of which there are no duplicates; return seconds to live, 0 if missing.

    One call for each hundred, one after the other.
    """
    ttls: dict[Key, int] = {}
    step = connection.settings.find_missing_blobs_batch_size
    for start in range(0, len(digests), step):
        asked = digests[start : start + step]
        answer = await retried(partial(_find_missing, connection, asked))
        told = dict.fromkeys(map(key, asked), CAS_TTL_SECONDS)
        told.update(dict.fromkeys(map(key, answer.missing_blob_digests), 0))
        if len(told) != len(asked):
            raise InfrastructureError(code_pb2.INTERNAL, "Invalid response from get_digests_ttl")
        ttls.update(told)
    return ttls


async def _find_missing(
    connection: Connection, asked: Sequence[reapi.Digest]
) -> reapi.FindMissingBlobsResponse:
    stub = reapi_grpc.ContentAddressableStorageStub(connection.cas)
    request = reapi.FindMissingBlobsRequest(
        instance_name=connection.settings.instance_name, blob_digests=asked
    )
    return await stub.FindMissingBlobs(request, metadata=connection.metadata)


async def upload(connection: Connection, blobs: Mapping[Key, bytes]) -> int:
    """Upload those of `blobs` that are missing; return how many that were."""
    digests = [reapi.Digest(hash=hash, size_bytes=size) for hash, size in blobs]
    ttls = await get_digests_ttl(connection, digests)
    missing = {named: data for named, data in blobs.items() if not ttls[named]}
    await upload_missing(connection, missing)
    return len(missing)


async def upload_missing(connection: Connection, missing: Mapping[Key, bytes]) -> None:
    """Upload without asking. The empty blob is never uploaded."""
    small = {
        named: data for named, data in missing.items() if 0 < named[1] < connection.batch_bytes
    }
    large = [named for named in missing if named[1] >= connection.batch_bytes]
    async with asyncio.TaskGroup() as tasks:
        for batch in batches(small, connection.batch_bytes):
            tasks.create_task(batch_update(connection, batch))
        for named in large:
            tasks.create_task(write(connection, named, missing[named]))


def batches(blobs: Mapping[Key, bytes], limit: int) -> Iterator[dict[Key, bytes]]:
    """Cut `blobs` into batches by their sizes alone, each of less than `limit` bytes."""
    batch: dict[Key, bytes] = {}
    size = 0
    for named, data in blobs.items():
        if batch and size + named[1] >= limit:
            yield batch
            batch, size = {}, 0
        batch[named] = data
        size += named[1]
    if batch:
        yield batch


async def batch_update(connection: Connection, batch: Mapping[Key, bytes]) -> None:
    """Upload one batch; a status that is not OK, ALREADY_EXISTS too, fails the whole."""
    request = reapi.BatchUpdateBlobsRequest(instance_name=connection.settings.instance_name)
    for (hash, size), data in batch.items():
        request.requests.add(digest=reapi.Digest(hash=hash, size_bytes=size), data=data)
    stub = reapi_grpc.ContentAddressableStorageStub(connection.cas)

    async def call() -> reapi.BatchUpdateBlobsResponse:
        return await stub.BatchUpdateBlobs(request, metadata=connection.metadata)

    for entry in (await retried(call)).responses:
        if entry.status.code != code_pb2.OK:
            raise InfrastructureError(
                entry.status.code, f"Batch upload failed: {entry.status.message}"
            )


async def write(
    connection: Connection,
    named: Key,
    data: bytes,
    *,
    identity: str = "",
    piece_bytes: int = FILE_PIECE_BYTES,
) -> int:
    """Upload one blob by stream; return the committed size.

    identity: the upload's uuid, the same in each attempt; a new one where it is empty.
    """
    codec = connection.compression
    kind = f"compressed-blobs/{codec.name}" if codec else "blobs"
    name = f"{connection.prefix}uploads/{identity or uuid.uuid4()}/{kind}/{named[0]}/{named[1]}"
    sent = codec.compress(data) if codec else data
    stub = bytestream_pb2_grpc.ByteStreamStub(connection.cas)

    async def call() -> bytestream_pb2.WriteResponse:
        requests = write_requests(name, sent, piece_bytes)
        return await stub.Write(requests, metadata=connection.metadata)

    committed = (await retried(call)).committed_size
    if committed not in {len(sent), len(data) if not codec else -1, -1}:
        raise InfrastructureError(
            code_pb2.INTERNAL, f"wrote {len(sent)} bytes, the server committed {committed}"
        )
    return committed


def write_requests(
    name: str, sent: bytes, piece_bytes: int
) -> Iterator[bytestream_pb2.WriteRequest]:
    """Cut `sent` into messages that all have the name, and offsets in the bytes that are sent."""
    for start in range(0, max(len(sent), 1), piece_bytes):
        yield bytestream_pb2.WriteRequest(
            resource_name=name,
            write_offset=start,
            finish_write=start + piece_bytes >= len(sent),
            data=sent[start : start + piece_bytes],
        )
