from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

import pytest
from google.rpc import code_pb2

from protos import (
    bytestream_pb2,
    bytestream_pb2_grpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as reapi_grpc,
)
from tests.buck2.actions import Blobs
from tests.buck2.compression import PREFERRED
from tests.buck2.connection import Connection, InfrastructureError, Settings, connected
from tests.buck2.downloads import download, read
from tests.buck2.pinging import pinging
from tests.buck2.uploads import (
    batch_update,
    get_digests_ttl,
    key,
    upload,
    upload_missing,
    write,
    write_requests,
)
from tests.protocol.blobs import unique
from tests.serving import Served


async def test_an_upload_of_everything_is_there_afterwards(client: Connection) -> None:
    blobs = Blobs()
    digests = [
        blobs.add(unique(size)) for size in (1, 999, 65_536, 3_999_999, 4_000_000, 9_000_000)
    ]
    assert await upload(client, blobs.data) == len(digests)
    assert await upload(client, blobs.data) == 0
    assert await download(client, digests) == list(blobs.data.values())


async def test_a_thousand_digests_are_asked_for_in_hundreds(client: Connection) -> None:
    # Buck2 rule: at most 100 digests in a call, and the reply echoes exactly what was asked.
    blobs = Blobs()
    for _ in range(1000):
        blobs.add(unique())
    half = dict(list(blobs.data.items())[:500])
    await upload(client, half)
    digests = [reapi.Digest(hash=hash, size_bytes=size) for hash, size in blobs.data]
    ttls = await get_digests_ttl(client, digests)
    assert {named for named, ttl in ttls.items() if ttl} == set(half)


async def test_a_batch_of_forty_thousand_tiny_blobs_is_accepted(client: Connection) -> None:
    # Buck2 rule: batches are cut by the sizes of their blobs alone: this one is below 4,000,000
    # bytes, and over 4 MiB on the wire.
    data = [number.to_bytes(4, "big") + unique(90) for number in range(40_000)]
    blobs = Blobs()
    for blob in data:
        blobs.add(blob)
    request = reapi.BatchUpdateBlobsRequest()
    for (hash, size), blob in blobs.data.items():
        request.requests.add(digest=reapi.Digest(hash=hash, size_bytes=size), data=blob)
    assert sum(map(len, data)) < client.batch_bytes < 5_000_000 < request.ByteSize()
    await batch_update(client, blobs.data)
    some = [reapi.Digest(hash=hash, size_bytes=size) for hash, size in list(blobs.data)[::4001]]
    assert await download(client, some) == data[::4001]


async def test_duplicate_uploads_are_the_norm_and_no_error(client: Connection) -> None:
    # Buck2 rule: what was once missing is uploaded again and again, in races with itself. Neither
    # a batch nor a Write may ever answer ALREADY_EXISTS.
    blobs = Blobs()
    for size in (10, 100_000, 4_000_000, 5_000_000):
        blobs.add(unique(size))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(upload_missing(client, blobs.data))
    await upload_missing(client, blobs.data)


async def test_a_write_of_a_present_blob_commits_minus_one_or_all(served: Served) -> None:
    # Buck2 rule: committed_size is what was sent or -1; a present blob's is its full size if it is
    # sent uncompressed, and -1 if it is compressed.
    data = unique(5_000_000)
    blobs = Blobs()
    named = key(blobs.add(data))
    async with connected(served.grpc) as compressing:
        assert await write(compressing, named, data) > 0
        assert await write(compressing, named, data) == -1
    async with connected(served.grpc, Settings(capabilities=False)) as plain:
        assert await write(plain, named, data) == len(data)


async def test_a_compressed_write_counts_what_was_sent(client: Connection) -> None:
    # Buck2 rule: write_offset and committed_size count compressed bytes, from 0.
    assert client.compression is not None
    data = b"compressible " * 500_000 + unique()
    sent = client.compression.compress(data)
    blobs = Blobs()
    digest = blobs.add(data)
    assert await write(client, key(digest), data, piece_bytes=len(sent) // 3) == len(sent)
    assert await read(client, digest) == data


async def test_one_message_of_four_million_bytes_is_accepted(served: Served) -> None:
    # Buck2 rule: segments are up to as large as a batch.
    data = unique(4_000_000)
    blobs = Blobs()
    digest = blobs.add(data)
    async with connected(served.grpc, Settings(capabilities=False)) as plain:
        assert await write(plain, key(digest), data, piece_bytes=4_000_000) == len(data)
        assert await read(plain, digest) == data


@pytest.mark.parametrize("capabilities", [True, False])
async def test_a_retry_begins_again_under_the_same_name(
    served: Served,
    capabilities: bool,  # noqa: FBT001
) -> None:
    # Buck2 rule: after an error a Write starts at offset 0 with the same uuid; it never resumes.
    data = unique(6_000_000)
    blobs = Blobs()
    digest = blobs.add(data)
    identity = str(uuid.uuid4())
    async with connected(served.grpc, Settings(capabilities=capabilities)) as connection:
        codec = connection.compression
        kind = f"compressed-blobs/{codec.name}" if codec else "blobs"
        name = f"uploads/{identity}/{kind}/{digest.hash}/{digest.size_bytes}"
        sent = codec.compress(data) if codec else data
        stub = bytestream_pb2_grpc.ByteStreamStub(connection.cas)
        call = stub.Write(metadata=connection.metadata)
        for request in list(write_requests(name, sent, 1 << 20))[:2]:
            await call.write(request)
        call.cancel()
        assert await write(connection, key(digest), data, identity=identity) == len(sent)
        assert await read(connection, digest) == data


async def test_a_file_that_changed_while_it_was_uploaded_is_noticed(client: Connection) -> None:
    # Buck2 rule: it may race with a change of its own file; INVALID_ARGUMENT, per blob, shows it.
    blobs = Blobs()
    named = key(blobs.add(unique(100)))
    with pytest.raises(InfrastructureError) as caught:
        await batch_update(client, {named: unique(100)})
    assert caught.value.code == code_pb2.INVALID_ARGUMENT
    large = key(blobs.add(unique(4_000_000)))
    with pytest.raises(InfrastructureError, match="INVALID_ARGUMENT"):
        await write(client, large, unique(4_000_000))
    digests = [reapi.Digest(hash=hash, size_bytes=size) for hash, size in (named, large)]
    assert set((await get_digests_ttl(client, digests)).values()) == {0}


async def test_an_early_answer_to_a_write_does_not_cancel_the_stream(
    served: Served, client: Connection
) -> None:
    # Buck2 rule: an answer before all was sent is fine as long as the stream is then reset without
    # an error, which its HTTP/2 library tolerates; a reset with CANCEL is an error to it.
    data = unique(5_000_000)
    blobs = Blobs()
    digest = blobs.add(data)
    await upload(client, blobs.data)
    async with pinging(served.grpc) as connection:
        name = f"uploads/{uuid.uuid4()}/blobs/{digest.hash}/{digest.size_bytes}"
        request = bytestream_pb2.WriteRequest(resource_name=name, data=data[:1000])
        stream = await connection.call("/google.bytestream.ByteStream/Write", request, open=True)
        await asyncio.wait_for(stream.ended.wait(), 30)
        assert stream.trailers.get("grpc-status") == "0"
        assert stream.broken in {"", "RST_STREAM 0"}
        (answer,) = stream.messages()
        assert bytestream_pb2.WriteResponse.FromString(answer).committed_size == len(data)


@pytest.mark.parametrize("compressor", PREFERRED, ids=reapi.Compressor.Value.Name)
async def test_every_compressor_that_it_may_choose_works(
    client: Connection, compressor: reapi.Compressor.Value.ValueType
) -> None:
    # Buck2 rule: brotli and deflate are used with servers that announce them and no zstd.
    choosing = replace(client, compression=PREFERRED[compressor])
    data = b"compressible " * 200_000 + unique()
    digest = Blobs().add(data)
    assert await write(choosing, key(digest), data) > 0
    assert await read(choosing, digest) == data


async def test_a_batch_answers_each_blob_and_never_that_it_was_there(client: Connection) -> None:
    # Buck2 rule: any status but OK is a failed upload; a status that is left out is OK.
    data = unique()
    blobs = Blobs()
    digest = blobs.add(data)
    request = reapi.BatchUpdateBlobsRequest()
    for _ in range(3):
        request.requests.add(digest=digest, data=data)
    stub = reapi_grpc.ContentAddressableStorageStub(client.cas)
    for _ in range(2):
        answer = await stub.BatchUpdateBlobs(request)
        assert [entry.status.code for entry in answer.responses] == [code_pb2.OK] * 3
