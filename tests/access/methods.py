"""Every method that is served, called with a request that names an instance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.longrunning import operations_pb2
from grpc_reflection.v1alpha import reflection_pb2

from protos import (
    admin_pb2,
    bytestream_pb2,
    logstream_pb2,
    remote_asset_pb2,
    remote_execution_pb2 as reapi,
    worker_pb2,
)
from tests.protocol.blobs import digest_of, read_name, write_name

DATA = b"what every method is called with"
DIGEST = digest_of(DATA)
CALL_SECONDS = 20.0

REAPI, LONGRUNNING = "build.bazel.remote.execution.v2", "google.longrunning"
ASSET = "build.bazel.remote.asset.v1"
ADMIN, WORKER = "holdfast.admin.v1", "holdfast.worker.v1"

Make = Callable[[str], Any]
"""Returns the request, or the requests of a stream, for an instance name."""


def _written(instance: str) -> list[bytestream_pb2.WriteRequest]:
    name = write_name(DIGEST, instance=instance)
    return [bytestream_pb2.WriteRequest(resource_name=name, data=DATA, finish_write=True)]


def _filter(instance: str) -> admin_pb2.PinFilter:
    return admin_pb2.PinFilter(instance_name=instance, action_digests=[DIGEST])


def _proposals(instance: str) -> admin_pb2.ProposalFilter:
    return admin_pb2.ProposalFilter(instance_name=instance, writer="nobody")


REQUESTS: Mapping[str, Make] = {
    f"/{REAPI}.Capabilities/GetCapabilities": lambda name: reapi.GetCapabilitiesRequest(
        instance_name=name
    ),
    f"/{REAPI}.ContentAddressableStorage/FindMissingBlobs": lambda name: (
        reapi.FindMissingBlobsRequest(instance_name=name, blob_digests=[DIGEST])
    ),
    f"/{REAPI}.ContentAddressableStorage/BatchUpdateBlobs": lambda name: (
        reapi.BatchUpdateBlobsRequest(
            instance_name=name,
            requests=[reapi.BatchUpdateBlobsRequest.Request(digest=DIGEST, data=DATA)],
        )
    ),
    f"/{REAPI}.ContentAddressableStorage/BatchReadBlobs": lambda name: reapi.BatchReadBlobsRequest(
        instance_name=name, digests=[DIGEST]
    ),
    f"/{REAPI}.ContentAddressableStorage/GetTree": lambda name: reapi.GetTreeRequest(
        instance_name=name, root_digest=DIGEST
    ),
    f"/{REAPI}.ContentAddressableStorage/SplitBlob": lambda name: reapi.SplitBlobRequest(
        instance_name=name, blob_digest=DIGEST
    ),
    f"/{REAPI}.ContentAddressableStorage/SpliceBlob": lambda name: reapi.SpliceBlobRequest(
        instance_name=name, blob_digest=DIGEST
    ),
    f"/{REAPI}.ActionCache/GetActionResult": lambda name: reapi.GetActionResultRequest(
        instance_name=name, action_digest=DIGEST
    ),
    f"/{REAPI}.ActionCache/UpdateActionResult": lambda name: reapi.UpdateActionResultRequest(
        instance_name=name, action_digest=DIGEST, action_result=reapi.ActionResult()
    ),
    f"/{REAPI}.Execution/Execute": lambda name: reapi.ExecuteRequest(
        instance_name=name, action_digest=digest_of(b"an action that is not there")
    ),
    f"/{REAPI}.Execution/WaitExecution": lambda _: reapi.WaitExecutionRequest(name="none"),
    f"/{ASSET}.Fetch/FetchBlob": lambda name: remote_asset_pb2.FetchBlobRequest(
        instance_name=name, uris=["https://not.listed.example/x"]
    ),
    f"/{ASSET}.Fetch/FetchDirectory": lambda name: remote_asset_pb2.FetchDirectoryRequest(
        instance_name=name, uris=["https://not.listed.example/x"]
    ),
    f"/{ASSET}.Push/PushBlob": lambda name: remote_asset_pb2.PushBlobRequest(
        instance_name=name, uris=["https://not.listed.example/x"], blob_digest=DIGEST
    ),
    f"/{ASSET}.Push/PushDirectory": lambda name: remote_asset_pb2.PushDirectoryRequest(
        instance_name=name, uris=["https://not.listed.example/x"], root_directory_digest=DIGEST
    ),
    "/google.bytestream.ByteStream/Read": lambda name: bytestream_pb2.ReadRequest(
        resource_name=read_name(DIGEST, instance=name)
    ),
    "/google.bytestream.ByteStream/Write": _written,
    "/google.bytestream.ByteStream/QueryWriteStatus": lambda name: (
        bytestream_pb2.QueryWriteStatusRequest(resource_name=write_name(DIGEST, instance=name))
    ),
    f"/{LONGRUNNING}.Operations/ListOperations": lambda name: operations_pb2.ListOperationsRequest(
        name=name
    ),
    f"/{LONGRUNNING}.Operations/GetOperation": lambda _: operations_pb2.GetOperationRequest(
        name="none"
    ),
    f"/{LONGRUNNING}.Operations/DeleteOperation": lambda _: operations_pb2.DeleteOperationRequest(
        name="none"
    ),
    f"/{LONGRUNNING}.Operations/CancelOperation": lambda _: operations_pb2.CancelOperationRequest(
        name="none"
    ),
    f"/{LONGRUNNING}.Operations/WaitOperation": lambda _: operations_pb2.WaitOperationRequest(
        name="none"
    ),
    f"/{ADMIN}.Admin/GetStatus": lambda _: admin_pb2.GetStatusRequest(),
    f"/{ADMIN}.Admin/CollectGarbage": lambda _: admin_pb2.CollectGarbageRequest(
        target_bytes=1 << 40
    ),
    f"/{ADMIN}.Admin/GetPin": lambda name: admin_pb2.GetPinRequest(
        instance_name=name, action_digest=DIGEST
    ),
    f"/{ADMIN}.Admin/ListPins": lambda name: admin_pb2.ListPinsRequest(filter=_filter(name)),
    f"/{ADMIN}.Admin/ReplacePin": lambda name: admin_pb2.ReplacePinRequest(
        instance_name=name, action_digest=DIGEST
    ),
    f"/{ADMIN}.Admin/DropPins": lambda name: admin_pb2.DropPinsRequest(filter=_filter(name)),
    f"/{ADMIN}.Admin/ImportPins": lambda name: [
        admin_pb2.Pin(instance_name=name, action_digest=DIGEST, result=reapi.ActionResult())
    ],
    f"/{ADMIN}.Admin/ListProposals": lambda name: admin_pb2.ListProposalsRequest(
        filter=_proposals(name)
    ),
    f"/{ADMIN}.Admin/ConfirmProposal": lambda name: admin_pb2.ConfirmProposalRequest(
        instance_name=name, action_digest=DIGEST, writer="nobody"
    ),
    f"/{ADMIN}.Admin/DropProposals": lambda name: admin_pb2.DropProposalsRequest(
        filter=_proposals(name)
    ),
    "/build.bazel.remote.logstream.v1.LogStreamService/CreateLogStream": lambda name: (
        logstream_pb2.CreateLogStreamRequest(parent=name)
    ),
    f"/{ADMIN}.Admin/Audit": lambda name: admin_pb2.AuditRequest(
        instance_name=name, invocation="none"
    ),
    f"/{ADMIN}.Admin/ListNondeterminism": lambda name: admin_pb2.ListNondeterminismRequest(
        instance_name=name
    ),
    f"/{ADMIN}.Admin/ExplainNondeterminism": lambda name: admin_pb2.ExplainNondeterminismRequest(
        instance_name=name, action_digest=DIGEST
    ),
    f"/{WORKER}.Workers/Connect": lambda _: [worker_pb2.FromWorker(draining=worker_pb2.Draining())],
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": lambda _: [
        reflection_pb2.ServerReflectionRequest(list_services="")
    ],
}


def method_of(path: str) -> str:
    """Return `Service/Method`, as the server's table has it."""
    return path.removeprefix("/").rpartition("/")[0].rpartition(".")[2] + path[path.rindex("/") :]


def outcome(channel: grpc.Channel, path: str, instance: str) -> tuple[grpc.StatusCode, str]:
    """Call a method; return how it ended, and with what message.

    On the wire all calls are streams, so that one way of calling does for all.
    """
    request = REQUESTS[path](instance)
    messages = request if isinstance(request, list) else [request]
    call: grpc.StreamStreamMultiCallable[Any, bytes] = channel.stream_stream(
        path, request_serializer=lambda message: message.SerializeToString()
    )
    return ended(call(iter(messages), timeout=CALL_SECONDS))


def ended(call: Iterator[bytes]) -> tuple[grpc.StatusCode, str]:
    try:
        list(call)
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""
