"""Blobs in chunks, as checks of splitting and of splicing ask for them."""

from __future__ import annotations

from typing import TypeAlias

from grpc import StatusCode

from conformance import methods
from conformance.refusal import Refused
from conformance.target import Target
from conformance.violation import NotApplicable
from protos import remote_execution_pb2 as reapi

FUNCTION = reapi.ChunkingFunction
Function: TypeAlias = reapi.ChunkingFunction.Value.ValueType


def announced_chunking(target: Target) -> list[Function]:
    """Return UNKNOWN, which servers always accept, and the functions that are announced."""
    functions = [FUNCTION.UNKNOWN]
    if target.cache.HasField("fast_cdc_2020_params"):
        functions.append(FUNCTION.FAST_CDC_2020)
    if target.cache.HasField("rep_max_cdc_params"):
        functions.append(FUNCTION.REP_MAX_CDC)
    return functions


def split_request(
    target: Target, blob: reapi.Digest, function: Function = FUNCTION.UNKNOWN
) -> reapi.SplitBlobRequest:
    return target.named(reapi.SplitBlobRequest(blob_digest=blob, chunking_function=function))


async def split(
    target: Target, blob: reapi.Digest, function: Function = FUNCTION.UNKNOWN
) -> reapi.SplitBlobResponse:
    """Split a blob that is there; the rule does not apply if there is nothing known of it."""
    try:
        return await target.call(methods.SPLIT_BLOB, split_request(target, blob, function))
    except Refused as error:
        if error.code == StatusCode.NOT_FOUND:
            raise NotApplicable(f"no split information: {error.message}") from error
        raise
