"""Actions whose results differ from run to run, as a build that Bazel drives has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from protos import remote_execution_pb2 as reapi
from re_client.connection import METADATA_KEY
from tests.protocol.actions import Entry, command, outputs_of, put_action
from tests.protocol.peer import CALL_SECONDS, Executed, Peer

INVOCATION = "6b1f0e0a-7a0e-4c1e-9d6e-9c6d9f0a11aa"
RANDOM = "cat /proc/sys/kernel/random/uuid > out"


@dataclass(frozen=True)
class Named:
    """An action, and what a client says of it."""

    digest: reapi.Digest
    target: str
    mnemonic: str = "Genrule"

    @property
    def text(self) -> str:
        return f"{self.digest.hash}/{self.digest.size_bytes}"


def named(
    peer: Peer, script: str, target: str, *, inputs: Mapping[str, Entry] | None = None
) -> Named:
    """Upload an action that runs `script`, whose output is `out`."""
    return Named(put_action(peer, command(script, outputs=["out"]), inputs=inputs), target)


def run(peer: Peer, action: Named, *, fresh: bool = True) -> Executed:
    """Execute as Bazel does. fresh: whatever is cached."""
    metadata = reapi.RequestMetadata(
        tool_details=reapi.ToolDetails(tool_name="bazel", tool_version="7.0.0"),
        tool_invocation_id=INVOCATION,
        target_id=action.target,
        action_mnemonic=action.mnemonic,
    )
    request = peer.execute_request(action.digest, skip_cache_lookup=fresh)
    header = cast("str", metadata.SerializeToString())  # a name that ends in -bin takes bytes
    call = peer.execution.Execute(request, timeout=CALL_SECONDS, metadata=((METADATA_KEY, header),))
    return Executed(list(call))


def output(peer: Peer, executed: Executed) -> bytes:
    return outputs_of(peer, executed.result)["out"]
