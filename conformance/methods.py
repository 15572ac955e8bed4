"""The methods of the protocol's services: their names on the wire, and what they answer.

Requests may be messages or bytes, so that a check can send what no message can say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from protos import (
    bytestream_pb2 as bytestream,
    logstream_pb2 as logstream,
    remote_asset_pb2 as asset,
    remote_execution_pb2 as reapi,
)

Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True)
class Unary(Generic[Reply]):
    """One request, one reply. path: `/package.Service/Method`."""

    path: str
    reply: type[Reply]


@dataclass(frozen=True, slots=True)
class Serving(Generic[Reply]):
    """One request, a stream of replies."""

    path: str
    reply: type[Reply]


@dataclass(frozen=True, slots=True)
class Taking(Generic[Reply]):
    """A stream of requests, one reply."""

    path: str
    reply: type[Reply]


_V2 = "/build.bazel.remote.execution.v2"
_CAS = f"{_V2}.ContentAddressableStorage"
_ASSET = "/build.bazel.remote.asset.v1"

GET_CAPABILITIES = Unary(f"{_V2}.Capabilities/GetCapabilities", reapi.ServerCapabilities)

FIND_MISSING = Unary(f"{_CAS}/FindMissingBlobs", reapi.FindMissingBlobsResponse)
BATCH_UPDATE = Unary(f"{_CAS}/BatchUpdateBlobs", reapi.BatchUpdateBlobsResponse)
BATCH_READ = Unary(f"{_CAS}/BatchReadBlobs", reapi.BatchReadBlobsResponse)
GET_TREE = Serving(f"{_CAS}/GetTree", reapi.GetTreeResponse)
SPLIT_BLOB = Unary(f"{_CAS}/SplitBlob", reapi.SplitBlobResponse)
SPLICE_BLOB = Unary(f"{_CAS}/SpliceBlob", reapi.SpliceBlobResponse)

READ = Serving("/google.bytestream.ByteStream/Read", bytestream.ReadResponse)
WRITE = Taking("/google.bytestream.ByteStream/Write", bytestream.WriteResponse)
QUERY_WRITE = Unary(
    "/google.bytestream.ByteStream/QueryWriteStatus", bytestream.QueryWriteStatusResponse
)

GET_RESULT = Unary(f"{_V2}.ActionCache/GetActionResult", reapi.ActionResult)
UPDATE_RESULT = Unary(f"{_V2}.ActionCache/UpdateActionResult", reapi.ActionResult)

EXECUTE = Serving(f"{_V2}.Execution/Execute", operations_pb2.Operation)
WAIT_EXECUTION = Serving(f"{_V2}.Execution/WaitExecution", operations_pb2.Operation)

_OPERATIONS = "/google.longrunning.Operations"
GET_OPERATION = Unary(f"{_OPERATIONS}/GetOperation", operations_pb2.Operation)
CANCEL_OPERATION = Unary(f"{_OPERATIONS}/CancelOperation", Empty)

FETCH_BLOB = Unary(f"{_ASSET}.Fetch/FetchBlob", asset.FetchBlobResponse)
FETCH_DIRECTORY = Unary(f"{_ASSET}.Fetch/FetchDirectory", asset.FetchDirectoryResponse)
PUSH_BLOB = Unary(f"{_ASSET}.Push/PushBlob", asset.PushBlobResponse)
PUSH_DIRECTORY = Unary(f"{_ASSET}.Push/PushDirectory", asset.PushDirectoryResponse)

CREATE_LOG_STREAM = Unary(
    "/build.bazel.remote.logstream.v1.LogStreamService/CreateLogStream", logstream.LogStream
)
