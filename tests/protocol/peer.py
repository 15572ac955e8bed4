"""A client's end of one server: the stubs, and what every test needs of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar, cast

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import PreconditionFailure, RetryInfo
from grpc_status import rpc_status

from protos import (
    bytestream_pb2,
    bytestream_pb2_grpc,
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as reapi_grpc,
)
from tests.protocol.blobs import SHA256, digest_of, read_name, write_name

Reply = TypeVar("Reply")

MESSAGE_BYTES = 64 << 20
PIECE_BYTES = 1 << 20
CALL_SECONDS = 45.0
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Executed:
    """What came over one Execute or WaitExecution stream, in order."""

    operations: Sequence[operations_pb2.Operation]

    @property
    def name(self) -> str:
        return str(self.operations[0].name)

    @property
    def response(self) -> reapi.ExecuteResponse:
        last = self.operations[-1]
        assert last.done
        response = reapi.ExecuteResponse()
        assert last.response.Unpack(response), last
        return response

    @property
    def result(self) -> reapi.ActionResult:
        """The result of an action that could be run."""
        response = self.response
        assert response.status.code == 0, response.status
        return response.result

    @property
    def metadata(self) -> list[reapi.ExecuteOperationMetadata]:
        return [operation_metadata(operation) for operation in self.operations]


@dataclass(frozen=True)
class Peer:
    """One instance of one server, spoken to in one digest function, which each request names."""

    channel: grpc.Channel
    instance: str = ""
    function: reapi.DigestFunction.Value.ValueType = SHA256
    capabilities: reapi_grpc.CapabilitiesStub = field(init=False)
    cas: reapi_grpc.ContentAddressableStorageStub = field(init=False)
    stream: bytestream_pb2_grpc.ByteStreamStub = field(init=False)
    action_cache: reapi_grpc.ActionCacheStub = field(init=False)
    execution: reapi_grpc.ExecutionStub = field(init=False)
    operations: operations_pb2_grpc.OperationsStub = field(init=False)

    def __post_init__(self) -> None:
        stubs = {
            "capabilities": reapi_grpc.CapabilitiesStub(self.channel),
            "cas": reapi_grpc.ContentAddressableStorageStub(self.channel),
            "stream": bytestream_pb2_grpc.ByteStreamStub(self.channel),
            "action_cache": reapi_grpc.ActionCacheStub(self.channel),
            "execution": reapi_grpc.ExecutionStub(self.channel),
            "operations": operations_pb2_grpc.OperationsStub(self.channel),
        }
        for name, stub in stubs.items():
            object.__setattr__(self, name, stub)

    def at(self, instance: str) -> Self:
        return replace(self, instance=instance)

    def using(self, function: reapi.DigestFunction.Value.ValueType) -> Self:
        return replace(self, function=function)

    def digest(self, data: bytes) -> reapi.Digest:
        return digest_of(data, self.function)

    def read_name(self, digest: reapi.Digest, *, compressor: str = "") -> str:
        return read_name(
            digest, instance=self.instance, function=self.function, compressor=compressor
        )

    def write_name(self, digest: reapi.Digest, *, compressor: str = "", identity: str = "") -> str:
        return write_name(
            digest,
            instance=self.instance,
            function=self.function,
            compressor=compressor,
            identity=identity,
        )

    def find_missing(self, *digests: reapi.Digest) -> list[reapi.Digest]:
        request = reapi.FindMissingBlobsRequest(
            instance_name=self.instance, blob_digests=digests, digest_function=self.function
        )
        return list(self.cas.FindMissingBlobs(request, timeout=CALL_SECONDS).missing_blob_digests)

    def has(self, digest: reapi.Digest) -> bool:
        return not self.find_missing(digest)

    def put(self, *blobs: bytes) -> list[reapi.Digest]:
        """Upload small `blobs` in one batch; fail if the server refuses one."""
        request = reapi.BatchUpdateBlobsRequest(
            instance_name=self.instance, digest_function=self.function
        )
        for data in blobs:
            request.requests.add(digest=self.digest(data), data=data)
        response = self.cas.BatchUpdateBlobs(request, timeout=CALL_SECONDS)
        assert [entry.status.code for entry in response.responses] == [0] * len(blobs), response
        return [self.digest(data) for data in blobs]

    def put_one(self, data: bytes) -> reapi.Digest:
        return self.put(data)[0]

    def batch_read(
        self,
        *digests: reapi.Digest,
        accept: Sequence[reapi.Compressor.Value.ValueType] = (),
    ) -> Sequence[reapi.BatchReadBlobsResponse.Response]:
        request = reapi.BatchReadBlobsRequest(
            instance_name=self.instance,
            digests=digests,
            acceptable_compressors=accept,
            digest_function=self.function,
        )
        return self.cas.BatchReadBlobs(request, timeout=CALL_SECONDS).responses

    def read(self, digest: reapi.Digest, *, offset: int = 0, limit: int = 0) -> bytes:
        return b"".join(self.pieces(self.read_name(digest), offset=offset, limit=limit))

    def pieces(self, name: str, *, offset: int = 0, limit: int = 0) -> Iterator[bytes]:
        request = bytestream_pb2.ReadRequest(
            resource_name=name, read_offset=offset, read_limit=limit
        )
        for response in self.stream.Read(request, timeout=CALL_SECONDS):
            yield response.data

    def write(self, name: str, data: bytes, *, offset: int = 0, finish: bool = True) -> int:
        """Send `data` in pieces from `offset` on; return the committed size."""
        return self.send(write_requests(name, data, offset=offset, finish=finish))

    def send(self, requests: Iterable[bytestream_pb2.WriteRequest]) -> int:
        """Send what may be any stream of WriteRequests; return the committed size."""
        return self.stream.Write(iter(requests), timeout=CALL_SECONDS).committed_size

    def write_status(self, name: str) -> bytestream_pb2.QueryWriteStatusResponse:
        request = bytestream_pb2.QueryWriteStatusRequest(resource_name=name)
        return self.stream.QueryWriteStatus(request, timeout=CALL_SECONDS)

    def get_result(self, action: reapi.Digest) -> reapi.ActionResult:
        request = reapi.GetActionResultRequest(
            instance_name=self.instance, action_digest=action, digest_function=self.function
        )
        return self.action_cache.GetActionResult(request, timeout=CALL_SECONDS)

    def update_result(
        self,
        action: reapi.Digest,
        result: reapi.ActionResult,
        *,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> reapi.ActionResult:
        request = reapi.UpdateActionResultRequest(
            instance_name=self.instance,
            action_digest=action,
            action_result=result,
            digest_function=self.function,
        )
        return self.action_cache.UpdateActionResult(
            request, timeout=CALL_SECONDS, metadata=tuple(metadata)
        )

    def execute_request(
        self, action: reapi.Digest, *, skip_cache_lookup: bool = False
    ) -> reapi.ExecuteRequest:
        return reapi.ExecuteRequest(
            instance_name=self.instance,
            action_digest=action,
            skip_cache_lookup=skip_cache_lookup,
            digest_function=self.function,
        )

    def execute(
        self,
        action: reapi.Digest,
        *,
        skip_cache_lookup: bool = False,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> Executed:
        """Execute, and stay until the stream ends."""
        request = self.execute_request(action, skip_cache_lookup=skip_cache_lookup)
        return Executed(
            list(self.execution.Execute(request, timeout=CALL_SECONDS, metadata=tuple(metadata)))
        )

    def wait(self, name: str) -> Executed:
        request = reapi.WaitExecutionRequest(name=name)
        return Executed(list(self.execution.WaitExecution(request, timeout=CALL_SECONDS)))


def operation_metadata(operation: operations_pb2.Operation) -> reapi.ExecuteOperationMetadata:
    metadata = reapi.ExecuteOperationMetadata()
    assert operation.metadata.Unpack(metadata), operation
    return metadata


def write_requests(
    name: str, data: bytes, *, offset: int = 0, finish: bool = True
) -> Iterator[bytestream_pb2.WriteRequest]:
    """Cut `data` into WriteRequests, of which the last finishes if `finish`."""
    for start in range(0, max(len(data), 1), PIECE_BYTES):
        yield bytestream_pb2.WriteRequest(
            resource_name=name,
            write_offset=offset + start,
            data=data[start : start + PIECE_BYTES],
            finish_write=finish and start + PIECE_BYTES >= len(data),
        )


@contextmanager
def connected(address: str) -> Iterator[Peer]:
    """Speak to `address` over a connection of its own."""
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        yield Peer(channel)


@contextmanager
def refused(
    *codes: grpc.StatusCode, naming: str = ""
) -> Iterator[pytest.ExceptionInfo[grpc.RpcError]]:
    """Expect the block's call to end with one of `codes`, and a message with `naming` in it."""
    with pytest.raises(grpc.RpcError) as caught:
        yield caught
    assert caught.value.code() in codes, caught.value.details()
    assert naming in (caught.value.details() or ""), caught.value.details()


@dataclass(frozen=True)
class Refusal:
    """What a call ended with in place of a reply."""

    code: grpc.StatusCode
    message: str


def attempt(call: Callable[[], Reply]) -> Reply | Refusal:
    """Make a call that a server may refuse."""
    try:
        return call()
    except grpc.RpcError as error:
        return Refusal(error.code(), error.details() or "")


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """Return the status that `error` comes with; fail if it has no details."""
    status = rpc_status.from_call(cast("grpc.Call", error))
    assert status is not None, "the error has no details"
    return cast("status_pb2.Status", status)


def unexecuted(peer: Peer, action: reapi.Digest) -> status_pb2.Status:
    """Execute an action that cannot be run, and return the status that says why.

    REAPI rule: what is found out before the Operation is made is the call's own status, what is
    found out later is the response's. Clients look at both.
    """
    try:
        executed = peer.execute(action)
    except grpc.RpcError as error:
        return status_of(error)
    return executed.response.status


def missing_subjects(status: status_pb2.Status) -> set[str]:
    """Return the subjects of the MISSING violations that `status` comes with."""
    subjects: set[str] = set()
    for detail in status.details:
        failure = PreconditionFailure()
        if detail.Unpack(failure):
            assert {violation.type for violation in failure.violations} == {"MISSING"}
            subjects.update(violation.subject for violation in failure.violations)
    return subjects


def retry_seconds(error: grpc.RpcError) -> float:
    """Return how long `error` asks to wait before the next attempt; fail if it does not say."""
    status = status_of(error)
    for detail in status.details:
        info = RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    raise AssertionError(f"no RetryInfo in {status}")
