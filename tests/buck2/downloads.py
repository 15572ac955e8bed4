"""How Buck2 downloads: small blobs in batches, the others by stream; it verifies neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.rpc import code_pb2

from protos import (
    bytestream_pb2,
    bytestream_pb2_grpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as reapi_grpc,
)
from tests.buck2.connection import Connection, InfrastructureError, retried
from tests.buck2.uploads import key


async def download(connection: Connection, digests: Sequence[reapi.Digest]) -> list[bytes]:
    """Return the blobs of `digests`, in which one may stand several times.

    The empty blob is not asked for.
    """
    found: dict[tuple[str, int], bytes] = {
        key(digest): b"" for digest in digests if not digest.size_bytes
    }
    small = [digest for digest in digests if 0 < digest.size_bytes < connection.batch_bytes]
    for batch in batches(small, connection.batch_bytes):
        for digest, data in zip(batch, await batch_read(connection, batch), strict=True):
            found[key(digest)] = data
    for digest in digests:
        if digest.size_bytes >= connection.batch_bytes:
            found[key(digest)] = await read(connection, digest)
    return [found[key(digest)] for digest in digests]


def batches(digests: Sequence[reapi.Digest], limit: int) -> Iterator[list[reapi.Digest]]:
    batch: list[reapi.Digest] = []
    size = 0
    for digest in digests:
        if batch and size + digest.size_bytes >= limit:
            yield batch
            batch, size = [], 0
        batch.append(digest)
        size += digest.size_bytes
    if batch:
        yield batch


async def batch_read(connection: Connection, digests: Sequence[reapi.Digest]) -> list[bytes]:
    """Read one batch, in the order of `digests`; one status that is not OK ends the whole."""
    stub = reapi_grpc.ContentAddressableStorageStub(connection.cas)
    request = reapi.BatchReadBlobsRequest(
        instance_name=connection.settings.instance_name,
        digests=digests,
        acceptable_compressors=[reapi.Compressor.IDENTITY],
    )

    async def call() -> reapi.BatchReadBlobsResponse:
        return await stub.BatchReadBlobs(request, metadata=connection.metadata)

    found = {}
    for entry in (await retried(call)).responses:
        if entry.status.code != code_pb2.OK:
            raise InfrastructureError(entry.status.code, entry.status.message)
        found[key(entry.digest)] = entry.data
    if found.keys() != set(map(key, digests)):
        raise InfrastructureError(code_pb2.INTERNAL, "the reply has other digests than the request")
    return [found[key(digest)] for digest in digests]


async def read(connection: Connection, digest: reapi.Digest) -> bytes:
    """Read one blob by stream, from its beginning and without a limit."""
    codec = connection.compression
    kind = f"compressed-blobs/{codec.name}" if codec else "blobs"
    request = bytestream_pb2.ReadRequest(
        resource_name=f"{connection.prefix}{kind}/{digest.hash}/{digest.size_bytes}"
    )
    stub = bytestream_pb2_grpc.ByteStreamStub(connection.cas)

    async def call() -> bytes:
        replies = stub.Read(request, metadata=connection.metadata)
        return b"".join([reply.data async for reply in replies])

    received = await retried(call)
    return codec.decompress(received) if codec else received
