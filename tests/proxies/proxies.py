"""Caching proxies of other projects, each in front of a server of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks.peers import bazel_remote_program, casd_program
from benchmarks.servers import free_port, launched
from protos import remote_execution_pb2 as reapi
from tests.protocol.peer import CALL_SECONDS, Peer, connected


@dataclass(frozen=True)
class BazelRemote:
    """peer: what speaks to it. grpc, http: HOST:PORT of what it serves."""

    peer: Peer
    grpc: str
    http: str


def put_large(peer: Peer, data: bytes) -> reapi.Digest:
    """Upload a blob that no batch takes."""
    digest = peer.digest(data)
    peer.write(peer.write_name(digest), data)
    return digest


def transfer(casd: Peer, method: str, digest: reapi.Digest) -> None:
    """Have buildbox-casd move a blob between its own store and the server behind it.

    method: UploadMissingBlobs or FetchMissingBlobs of its LocalContentAddressableStorage service,
    whose requests have the fields of FindMissingBlobsRequest. Only these ways does it cut blobs
    into chunks: what comes over ByteStream it passes on as it is.
    """
    call: grpc.UnaryUnaryMultiCallable[reapi.FindMissingBlobsRequest, bytes] = (
        casd.channel.unary_unary(
            f"/build.buildgrid.LocalContentAddressableStorage/{method}",
            request_serializer=reapi.FindMissingBlobsRequest.SerializeToString,
        )
    )
    request = reapi.FindMissingBlobsRequest(instance_name=casd.instance, blob_digests=[digest])
    call(request, timeout=CALL_SECONDS)


@contextmanager
def casd(folder: Path, behind: str, *options: str) -> Iterator[Peer]:
    """Run buildbox-casd with an empty cache in `folder`, in front of the server `behind`."""
    port = free_port()
    command = [
        casd_program(),
        f"--bind=127.0.0.1:{port}",
        f"--remote=http://{behind}",
        *options,
        folder / "store",
    ]
    with (
        launched("buildbox-casd", command, port, folder) as running,
        connected(running.address) as peer,
    ):
        yield peer


@contextmanager
def bazel_remote(folder: Path, behind: str) -> Iterator[BazelRemote]:
    """Run bazel-remote with an empty cache in `folder`, in front of the server `behind`."""
    port, http_port = free_port(), free_port()
    command = [
        bazel_remote_program(),
        f"--dir={folder}/store",
        "--max_size=1",
        "--storage_mode=uncompressed",  # with zstd it takes only what another bazel-remote made
        f"--grpc_address=127.0.0.1:{port}",
        f"--http_address=127.0.0.1:{http_port}",
        f"--grpc_proxy.url=grpc://{behind}",
    ]
    with (
        launched("bazel-remote", command, port, folder) as running,
        connected(running.address) as peer,
    ):
        yield BazelRemote(peer, running.address, f"127.0.0.1:{http_port}")
