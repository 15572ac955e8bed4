from __future__ import annotations

import grpc
import pytest

from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc as reapi_grpc
from tests.buck2.actions import Blobs, blake3_hash, make, sha1, sha256
from tests.buck2.compression import choose
from tests.buck2.connection import Connection, Settings, connected
from tests.buck2.downloads import download
from tests.buck2.executing import build
from tests.buck2.uploads import get_digests_ttl, key, upload
from tests.protocol.blobs import unique
from tests.serving import Served

METADATA = "build.bazel.remote.execution.v2.requestmetadata-bin"


async def works(connection: Connection) -> bool:
    """Upload one small and one large blob, and read both."""
    blobs = Blobs()
    digests = [blobs.add(unique()), blobs.add(unique(connection.batch_bytes))]
    await upload(connection, blobs.data)
    return await download(connection, digests) == list(blobs.data.values())


async def test_capabilities_give_the_batch_size_and_zstd(client: Connection) -> None:
    # Buck2 rule: of all capabilities it reads the batch size and the compressors.
    assert client.batch_bytes == 4_000_000
    assert client.compression is not None
    assert client.compression.name == "zstd"
    assert await works(client)


def test_zstd_is_preferred_to_brotli_and_brotli_to_deflate() -> None:
    zstd, brotli, deflate = (
        reapi.Compressor.ZSTD,
        reapi.Compressor.BROTLI,
        reapi.Compressor.DEFLATE,
    )
    chosen = [choose(announced) for announced in ([deflate, brotli, zstd], [deflate, brotli], [])]
    assert [codec.name if codec else "" for codec in chosen] == ["zstd", "brotli", ""]


async def test_without_capabilities_batches_are_four_million_bytes_uncompressed(
    served: Served,
) -> None:
    # Buck2 rule: with `capabilities = false` nothing is asked, and with an absent or zero batch
    # size its own default of 4,000,000 bytes holds.
    async with connected(served.grpc, Settings(capabilities=False)) as connection:
        assert connection.batch_bytes == 4_000_000
        assert connection.compression is None
        assert await works(connection)


async def test_a_smaller_batch_size_of_the_client_holds(served: Served) -> None:
    # Buck2 rule: the smaller one of the server's and the client's setting; replies are read up to
    # twice that, so that pieces of a Read have to be below it.
    async with connected(served.grpc, Settings(max_total_batch_size=100_000)) as connection:
        assert await works(connection)


@pytest.mark.parametrize("instance", ["", "a/b"])
async def test_instance_names_stand_in_requests_and_before_resource_names(
    served: Served, instance: str
) -> None:
    # Buck2 rule: the instance name is used as it is, and "" puts nothing before resource names.
    async with connected(served.grpc, Settings(instance_name=instance)) as connection:
        assert await works(connection)
        assert (await build(connection, make("true"))).exit_code == 0


@pytest.mark.parametrize(
    ("instance", "hash"), [("", sha256), ("blake3", blake3_hash), ("sha1", sha1), ("", sha1)]
)
async def test_no_request_names_its_digest_function(
    served: Served, instance: str, hash: object
) -> None:
    # Buck2 rule: digest_function is never set and resource names never hold one, so that BLAKE3
    # depends on the instance's configuration. SHA1 is told by its length.
    assert callable(hash)
    async with connected(served.grpc, Settings(instance_name=instance)) as connection:
        blobs = Blobs(hash)
        digests = [blobs.add(unique()), blobs.add(unique(connection.batch_bytes))]
        await upload(connection, blobs.data)
        assert await download(connection, digests) == list(blobs.data.values())
        made = make(f"printf made > out; echo {unique().hex()}", ["out"], hash=hash)
        result = await build(connection, made)
        assert result.output_files[0].digest.hash == hash(b"made")


async def test_headers_of_the_configuration_come_with_every_call(served: Served) -> None:
    # Buck2 rule: http_headers are added to all calls, GetCapabilities included.
    headers = {
        "x-api-key": "secret",
        "x-team": "build tools",
        "authorization": "Bearer " + "t" * 6000,
    }
    async with connected(served.grpc, Settings(http_headers=headers)) as connection:
        assert await works(connection)
        assert (await build(connection, make(f"echo {unique().hex()}"))).exit_code == 0


@pytest.mark.parametrize("build_id", ["", "not a uuid", "x" * 4000])
async def test_any_build_id_is_accepted(served: Served, build_id: str) -> None:
    # Buck2 rule: tool_invocation_id is the Build ID, and may be empty outside of a command.
    async with connected(served.grpc, build_id=build_id) as connection:
        assert await works(connection)


async def test_its_other_metadata_header_is_accepted(served: Served) -> None:
    # Buck2 rule: with use_fbcode_metadata RequestMetadata is replaced by `re-metadata-bin`.
    async with connected(served.grpc, Settings(use_fbcode_metadata=True)) as connection:
        assert await works(connection)


@pytest.mark.parametrize("value", [b"\xff" * 20, b"", b"\x0a\xff"])
async def test_metadata_that_cannot_be_read_breaks_nothing(
    client: Connection, value: bytes
) -> None:
    # REAPI rule: RequestMetadata is never required and never breaks parsing.
    stub = reapi_grpc.ContentAddressableStorageStub(client.cas)
    digest = Blobs().add(b"")
    request = reapi.FindMissingBlobsRequest(blob_digests=[digest])
    answer = await stub.FindMissingBlobs(request, metadata=((METADATA, value),))
    assert not answer.missing_blob_digests


async def test_many_connections_at_a_time_are_served(served: Served) -> None:
    # Buck2 rule: up to 100 connections are opened as they are needed, and kept.
    digest = Blobs().add(b"")
    channels = [
        grpc.aio.insecure_channel(served.grpc, options=(("grpc.use_local_subchannel_pool", 1),))
        for _ in range(100)
    ]
    request = reapi.FindMissingBlobsRequest(blob_digests=[digest])
    for _ in range(2):
        for channel in channels:
            stub = reapi_grpc.ContentAddressableStorageStub(channel)
            assert not (await stub.FindMissingBlobs(request)).missing_blob_digests
    for channel in channels:
        await channel.close()


async def test_the_empty_blob_is_there_though_it_is_never_uploaded(client: Connection) -> None:
    # Buck2 rule: the empty blob is asked for and referred to, and never uploaded.
    digest = Blobs().add(b"")
    assert (await get_digests_ttl(client, [digest]))[key(digest)] > 0
