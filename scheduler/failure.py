"""Responses for actions that ended without a worker's."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo

from protos import remote_execution_pb2 as reapi

RETRY_SECONDS = 2  # what a client is asked to wait before it asks again, here or elsewhere


def failed(code: int, message: str) -> reapi.ExecuteResponse:
    """Say why an action has no result; where it may have one later, say when to ask again.

    Source: remote_execution.proto, service Execution: any error may come with a RetryInfo.
    """
    response = reapi.ExecuteResponse()
    response.status.code = code
    response.status.message = message
    if code == Code.UNAVAILABLE:
        again = RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS))
        response.status.details.add().Pack(again)
    return response
