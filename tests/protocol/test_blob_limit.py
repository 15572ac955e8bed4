"""A server that bounds the blobs that it takes from clients."""

from __future__ import annotations

import grpc
import pytest

from protos import bytestream_pb2, remote_execution_pb2 as reapi
from tests.compressors import pack
from tests.protocol.actions import put_script
from tests.protocol.blobs import ZSTD, digest_of, unique
from tests.protocol.peer import CALL_SECONDS, Peer, refused
from tests.protocol.sending import message
from tests.protocol.test_http_cache import connected_web
from tests.serving import Served

LIMIT = 10_000
SETTINGS = f"server.max_blob_bytes = {LIMIT}"
NAMING = "max_cas_blob_size_bytes"


def test_the_bound_is_announced(peer: Peer) -> None:
    request = reapi.GetCapabilitiesRequest()
    answer = peer.capabilities.GetCapabilities(request, timeout=CALL_SECONDS)
    assert answer.cache_capabilities.max_cas_blob_size_bytes == LIMIT


def test_a_blob_at_the_bound_is_taken_in_every_way(peer: Peer) -> None:
    first, second, third = (unique(LIMIT) for _ in range(3))
    peer.put_one(first)
    peer.write(peer.write_name(peer.digest(second)), second)
    name = peer.write_name(peer.digest(third), compressor=ZSTD)
    peer.write(name, pack(ZSTD, third))
    for data in (first, second, third):
        assert peer.read(peer.digest(data)) == data


def test_a_larger_one_is_refused_before_it_is_sent(peer: Peer) -> None:
    # REAPI rule: more than max_cas_blob_size_bytes is INVALID_ARGUMENT.
    data = unique(LIMIT + 1)
    digest = peer.digest(data)
    for compressor, sent in (("", data), (ZSTD, pack(ZSTD, data))):
        name = peer.write_name(digest, compressor=compressor)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=NAMING):
            peer.write(name, sent)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=NAMING):
            peer.send([message(name)])
        with refused(grpc.StatusCode.NOT_FOUND):
            peer.write_status(name)
    assert not peer.has(digest)


@pytest.mark.parametrize("compressor", [reapi.Compressor.IDENTITY, reapi.Compressor.ZSTD])
def test_in_a_batch_it_is_refused_alone(
    peer: Peer, compressor: reapi.Compressor.Value.ValueType
) -> None:
    request = reapi.BatchUpdateBlobsRequest()
    blobs = [unique(LIMIT), unique(LIMIT + 1)]
    for data in blobs:
        packed = pack(ZSTD, data) if compressor else data
        request.requests.add(digest=peer.digest(data), data=packed, compressor=compressor)
    good, bad = peer.cas.BatchUpdateBlobs(request, timeout=CALL_SECONDS).responses
    assert good.status.code == 0
    assert bad.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert NAMING in bad.status.message
    assert [peer.has(peer.digest(data)) for data in blobs] == [True, False]


def test_chunks_are_not_spliced_to_a_larger_one(peer: Peer) -> None:
    data = unique(LIMIT + 1)
    chunks = peer.put(data[:LIMIT], data[LIMIT:])
    request = reapi.SpliceBlobRequest(blob_digest=peer.digest(data), chunk_digests=chunks)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=NAMING):
        peer.cas.SpliceBlob(request, timeout=CALL_SECONDS)
    assert not peer.has(peer.digest(data))


def test_over_http_it_is_refused_too(served: Served) -> None:
    with connected_web(served) as web:
        for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
            data = unique(size)
            assert web("PUT", f"/cas/{digest_of(data).hash}", data).status == status


def test_outputs_of_actions_may_be_larger_and_are_read_as_any_other(peer: Peer) -> None:
    action = put_script(peer, f"head -c {LIMIT * 3} /dev/zero > large", "large")
    (output,) = peer.execute(action).result.output_files
    assert output.digest == peer.digest(bytes(LIMIT * 3))
    data = peer.read(output.digest)
    assert data == bytes(LIMIT * 3)
    # What is there already is no upload.
    assert peer.write(peer.write_name(output.digest), data) == len(data)


def test_a_worker_elsewhere_uploads_outputs_of_any_size(peer: Peer) -> None:
    data = unique(LIMIT + 1)
    name = peer.write_name(peer.digest(data))
    request = bytestream_pb2.WriteRequest(resource_name=name, data=data, finish_write=True)
    answer = peer.stream.Write(
        iter([request]), timeout=CALL_SECONDS, metadata=(("holdfast-worker", "1"),)
    )
    assert answer.committed_size == len(data)
