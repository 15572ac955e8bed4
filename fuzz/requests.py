"""Requests that are taken apart by hand: each means what protobuf says it means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import Code

from cas.digest import Digest, DigestFunction
from cas.memory import MemoryStore
from cas.names import Presence
from cas.tree import TreeLimits
from cas.wire import digest_from, digest_to
from fuzz.target import Target, answered
from protos import bytestream_pb2, remote_execution_pb2 as reapi
from re_client.status import Refused
from re_config.determinism_tables import Instance
from re_server.cas_service import CasService
from re_server.instances import Instances
from re_server.rpc import Context
from re_server.upload_limit import UploadLimit
from re_server.write_message import parse_write_message

ANY = Instances({}, Instance())
MAX_BATCH_BYTES = 4096
NO_CALL = cast("Context", None)  # the methods below look at what they are sent alone
HELD = [Digest.of(data, function) for function in DigestFunction for data in (b"a", b"b" * 300)]
ABSENT = [Digest.of(b"c", function) for function in DigestFunction]
EMPTY = Digest.of(b"")

Entry = tuple[bytes, bytes, int]
"""Of a batch: the digest as it is serialised, the blob, a status code."""


def write_message(data: bytes) -> None:
    expected = bytestream_pb2.WriteRequest()
    try:
        expected.ParseFromString(data)
    except DecodeError:
        try:
            parse_write_message(data)
        except DecodeError:
            return
        raise AssertionError("protobuf finds no message in this") from None
    found = parse_write_message(data)
    assert found.resource_name == expected.resource_name
    assert found.write_offset == expected.write_offset
    assert found.finish_write == expected.finish_write
    assert found.data == expected.data


def _write_messages() -> Iterator[bytes]:
    name = f"main/uploads/7d/blobs/{HELD[0]}"
    for message in (
        bytestream_pb2.WriteRequest(resource_name=name, data=b"a", finish_write=True),
        bytestream_pb2.WriteRequest(write_offset=300, data=b"b" * 200),
        bytestream_pb2.WriteRequest(resource_name=name, write_offset=-1),
    ):
        yield message.SerializeToString()


async def _service() -> tuple[CasService, MemoryStore]:
    store = MemoryStore()
    for digest in HELD:
        await store.write_all(b"a" if digest.size == 1 else b"b" * digest.size, digest)
    service = CasService(
        ANY,
        store,
        Presence(seconds=3600),
        remembered_bytes=100,
        max_batch_bytes=MAX_BATCH_BYTES,
        limits=TreeLimits(),
        chunked=None,
        limit=UploadLimit(0),
    )
    return service, store


async def find_missing(data: bytes) -> None:
    service, store = await _service()

    async def expected() -> set[Digest]:
        request = reapi.FindMissingBlobsRequest.FromString(data)
        return await store.find_missing(_digests(request, request.blob_digests))

    async def found() -> set[Digest]:
        answer = reapi.FindMissingBlobsResponse.FromString(
            await service.FindMissingBlobs(data, NO_CALL)
        )
        request = reapi.FindMissingBlobsRequest.FromString(data)
        return set(_digests(request, answer.missing_blob_digests))

    wanted = await answered(expected())
    assert await answered(found()) == wanted
    assert await answered(found()) == wanted, "from what is remembered"


async def batch_read(data: bytes) -> None:
    service, store = await _service()

    async def expected() -> list[Entry]:
        request = reapi.BatchReadBlobsRequest.FromString(data)
        digests = _digests(request, request.digests)
        if sum(digest.size for digest in digests) > MAX_BATCH_BYTES:
            raise Refused
        found = await store.read_many(digests)
        return sorted(
            (
                digest_to(digest).SerializeToString(),
                found.get(digest, b""),
                Code.OK if digest in found else Code.NOT_FOUND,
            )
            for digest in digests
        )

    async def found() -> list[Entry]:
        answer = reapi.BatchReadBlobsResponse.FromString(
            await service.BatchReadBlobs(data, NO_CALL)
        )
        return sorted(
            (each.digest.SerializeToString(), each.data, each.status.code)
            for each in answer.responses
        )

    assert await answered(found()) == await answered(expected())


async def batch_update(data: bytes) -> None:
    service, store = await _service()
    answer = reapi.BatchUpdateBlobsResponse.FromString(
        await service.BatchUpdateBlobs(data, NO_CALL)
    )
    request = reapi.BatchUpdateBlobsRequest.FromString(data)
    told = [(each.digest.hash, each.digest.size_bytes) for each in answer.responses]
    assert told == [(each.digest.hash, each.digest.size_bytes) for each in request.requests]
    kept = [each.digest for each in answer.responses if each.status.code == Code.OK]
    first = request.requests[0].digest.hash if request.requests else ""
    function = ANY.function(request.instance_name, request.digest_function, first)
    assert not await store.find_missing([digest_from(digest, function) for digest in kept])


def _digests(
    request: reapi.FindMissingBlobsRequest | reapi.BatchReadBlobsRequest,
    messages: Iterable[reapi.Digest],
) -> list[Digest]:
    return ANY.digests(request.instance_name, request.digest_function, messages, field="digests")


def _asked() -> Iterator[tuple[str, int, list[reapi.Digest]]]:
    sha256, blake3 = reapi.DigestFunction.SHA256, reapi.DigestFunction.BLAKE3
    for instance, number, digests in (
        ("main", 0, [HELD[0], ABSENT[0], HELD[1]]),
        ("a/b", sha256, [HELD[0], HELD[0], HELD[1]]),
        ("", blake3, [digest for digest in HELD if digest.function is DigestFunction.BLAKE3]),
        ("", 0, [digest for digest in HELD if digest.function is DigestFunction.SHA1]),
        ("", sha256, [EMPTY, ABSENT[0]]),
    ):
        yield instance, number, [digest_to(digest) for digest in digests]


def _find_missing_requests() -> Iterator[bytes]:
    for instance, number, digests in _asked():
        yield reapi.FindMissingBlobsRequest(
            instance_name=instance,
            blob_digests=digests,
            digest_function=reapi.DigestFunction.Value.ValueType(number),
        ).SerializeToString()


def _batch_read_requests() -> Iterator[bytes]:
    for instance, number, digests in _asked():
        yield reapi.BatchReadBlobsRequest(
            instance_name=instance,
            digests=digests,
            digest_function=reapi.DigestFunction.Value.ValueType(number),
        ).SerializeToString()


def _batch_update_requests() -> Iterator[bytes]:
    for function in (reapi.DigestFunction.UNKNOWN, reapi.DigestFunction.SHA256):
        request = reapi.BatchUpdateBlobsRequest(instance_name="main", digest_function=function)
        for data in (b"new", b"", b"a"):
            request.requests.add(digest=digest_to(Digest.of(data)), data=data)
        yield request.SerializeToString()
        request.requests.add(digest=digest_to(HELD[0]), data=b"other")
        yield request.SerializeToString()
        request.requests.add(digest=digest_to(Digest.of(b"new")), data=b"old")
        yield request.SerializeToString()


TARGETS = {
    "write_message": Target(write_message, _write_messages),
    "find_missing": Target(find_missing, _find_missing_requests),
    "batch_read": Target(batch_read, _batch_read_requests),
    "batch_update": Target(batch_update, _batch_update_requests),
}
