from __future__ import annotations

import asyncio

import pytest
from google.rpc import code_pb2

from protos import (
    bytestream_pb2,
    bytestream_pb2_grpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as reapi_grpc,
)
from tests.buck2.actions import Blobs
from tests.buck2.connection import Connection, InfrastructureError, Settings, connected
from tests.buck2.downloads import batch_read, download, read
from tests.buck2.uploads import key, upload
from tests.compressors import unpack
from tests.protocol.blobs import unique
from tests.serving import Served


async def test_several_files_with_one_content_are_one_digest_several_times(
    client: Connection,
) -> None:
    # Buck2 rule: BatchReadBlobs names a digest once for each file, so that duplicates are usual.
    blobs = Blobs()
    first, second = blobs.add(unique()), blobs.add(unique())
    await upload(client, blobs.data)
    digests = [first, second, first, first, second]
    assert await batch_read(client, digests) == [blobs.data[key(digest)] for digest in digests]


async def test_one_missing_blob_keeps_its_own_status_in_a_call_that_succeeds(
    client: Connection,
) -> None:
    # Buck2 rule: only a blob's own NOT_FOUND makes it say that the artifact has expired, and start
    # again; a call that ends with NOT_FOUND is an unknown error to it.
    blobs = Blobs()
    present, absent = blobs.add(unique()), Blobs().add(unique())
    await upload(client, blobs.data)
    with pytest.raises(InfrastructureError) as caught:
        await batch_read(client, [present, absent, present])
    assert caught.value.code == code_pb2.NOT_FOUND
    stub = reapi_grpc.ContentAddressableStorageStub(client.cas)
    request = reapi.BatchReadBlobsRequest(digests=[present, absent])
    answer = await stub.BatchReadBlobs(request)
    by_digest = {key(entry.digest): entry for entry in answer.responses}
    assert by_digest[key(present)].data == blobs.data[key(present)]
    assert by_digest[key(absent)].status.code == code_pb2.NOT_FOUND


async def test_a_read_is_one_zstd_frame(client: Connection) -> None:
    # Buck2 rule: releases of October and November 2025 cut a file off after the first frame.
    data = b"".join(b"%d\n" % number for number in range(1_500_000))
    blobs = Blobs()
    digest = blobs.add(data)
    await upload(client, blobs.data)
    stub = bytestream_pb2_grpc.ByteStreamStub(client.cas)
    request = bytestream_pb2.ReadRequest(
        resource_name=f"compressed-blobs/zstd/{digest.hash}/{digest.size_bytes}"
    )
    pieces = [reply.data async for reply in stub.Read(request)]
    assert unpack("zstd", b"".join(pieces)) == data


@pytest.mark.parametrize("batch_bytes", [1_000_000, 4_000_000])
async def test_no_reply_is_larger_than_twice_the_batch_size(
    served: Served, batch_bytes: int
) -> None:
    # Buck2 rule: replies of the store are read up to twice the batch size, the smaller one of what
    # is announced and what the client is set to.
    data = unique(10_000_000)
    blobs = Blobs()
    digest = blobs.add(data)
    settings = Settings(max_total_batch_size=batch_bytes, capabilities=False)
    async with connected(served.grpc, settings) as connection:
        await upload(connection, blobs.data)
        assert await read(connection, digest) == data


async def test_a_missing_blob_of_a_stream_is_an_error_and_not_an_empty_file(
    client: Connection,
) -> None:
    # Buck2 rule: downloads are not verified, so that a short reply would be a corrupt output.
    digest = Blobs().add(unique(4_000_001))
    with pytest.raises(InfrastructureError, match="NOT_FOUND"):
        await read(client, digest)


async def test_a_thousand_downloads_at_a_time_succeed(client: Connection) -> None:
    # Buck2 rule: up to 1,024 actions are in their phase of uploads and downloads.
    blobs = Blobs()
    digests = [blobs.add(unique(2000)) for _ in range(200)]
    large = blobs.add(unique(4_200_000))
    await upload(client, blobs.data)

    async def one(number: int) -> bool:
        wanted = [digests[number % 200], digests[(number + 1) % 200]]
        if number % 100 == 0:
            wanted.append(large)
        return await download(client, wanted) == [blobs.data[key(digest)] for digest in wanted]

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(number)) for number in range(1000)]
    assert all(task.result() for task in running)
