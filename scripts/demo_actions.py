"""Which actions a build asked for, by their digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from protos import remote_execution_pb2 as reapi
from tests.bazel.grpc_log import delimited, inside

LOG_ENTRY_METADATA = 1
"""Source: Bazel 4.2.3, src/main/protobuf/remote_execution_log.proto, message LogEntry."""


class Asked(NamedTuple):
    """An action. hash: of its digest."""

    target: str
    mnemonic: str
    hash: str


def asked(log: bytes) -> frozenset[Asked]:
    """Return the actions that are named in Bazel's log of calls."""
    found = set()
    for entry in delimited(log):
        for metadata in inside(entry, LOG_ENTRY_METADATA):
            said = reapi.RequestMetadata.FromString(metadata)
            if said.target_id:
                found.add(Asked(said.target_id, said.action_mnemonic, said.action_id))
    return frozenset(found)


def by_part(actions: Iterable[Asked]) -> Mapping[str, int]:
    """Count actions by the package of their targets."""
    counts: dict[str, int] = {}
    for action in actions:
        part = action.target.removeprefix("//").partition(":")[0]
        counts[part] = counts.get(part, 0) + 1
    return counts
