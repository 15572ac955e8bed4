"""What a client says about itself and its action."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from protos import remote_execution_pb2 as reapi
from re_server.rpc import Context

METADATA_HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin"
MAX_CHARACTERS = 1000  # of each text: targets can be long, and the ledger keeps them


@dataclass(frozen=True, slots=True)
class Caller:
    """invocation: tool_invocation_id. tool: name and version. Each "" where it is not said."""

    invocation: str = ""
    target: str = ""
    mnemonic: str = ""
    tool: str = ""


def caller_of(context: Context) -> Caller:
    """Read the client's RequestMetadata.

    Source: remote_execution.proto, message RequestMetadata: never required, so what cannot be read
    counts as not said. Bazel sends all of it; Buck2 the invocation alone.
    """
    for name, value in context.invocation_metadata() or ():
        if name == METADATA_HEADER and isinstance(value, bytes):
            return parse_caller(value)
    return Caller()


def parse_caller(header: bytes) -> Caller:
    try:
        metadata = reapi.RequestMetadata.FromString(header)
    except DecodeError:
        return Caller()
    tool = metadata.tool_details
    return Caller(
        invocation=metadata.tool_invocation_id[:MAX_CHARACTERS],
        target=metadata.target_id[:MAX_CHARACTERS],
        mnemonic=metadata.action_mnemonic[:MAX_CHARACTERS],
        tool=f"{tool.tool_name} {tool.tool_version}".strip()[:MAX_CHARACTERS],
    )
