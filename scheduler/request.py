"""What a client asks to be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cas.digest import Digest
from protos import worker_pb2

MergeKey = tuple[str, Digest, bool, "Rewriting"]


class TextRule(NamedTuple):
    """A rewriting that users write themselves. Source: worker.proto, message TextRule."""

    name: str
    pattern: str
    fill: str
    outputs: str = ""
    mnemonic: str = ""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """How outputs are brought into canonical form. Source: worker.proto, message Lease.

    formats: beside those that are applied unasked, sorted.
    """

    extent: worker_pb2.Canonicalise.ValueType = worker_pb2.Canonicalise.NOTHING
    formats: tuple[str, ...] = ()
    text_rules: tuple[TextRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One call of Execute, checked.

    platform: pairs of name and value, as the action (or its command) has them.
    priority: lower is more urgent. Source: remote_execution.proto, message ExecutionPolicy.
    invocation: the client's tool_invocation_id; "" where it sends none.
    input_root: None where it is not known; then no worker is preferred.
    named: blobs that the action names, which its worker will read first.
    timeout_seconds: bound on the action's own running time.
    rewriting: how outputs are brought into canonical form.
    mergeable: whether one execution may answer several requests; not so for do_not_cache.
    fresh: whether only an execution that begins after this request may answer it
        (skip_cache_lookup).
    mnemonic: what the client says of the action, or "".
    variation: how this run is to differ from an ordinary one; such a request is never merged.
    """

    instance: str
    action: Digest
    platform: tuple[tuple[str, str], ...]
    priority: int
    invocation: str
    input_root: Digest | None
    named: tuple[Digest, ...]
    timeout_seconds: float
    rewriting: Rewriting
    mergeable: bool
    fresh: bool
    mnemonic: str = ""
    variation: worker_pb2.Variation | None = None

    @property
    def merge_key(self) -> MergeKey | None:
        """What requests have in common that one execution answers; None if there are none."""
        if not self.mergeable:
            return None
        return (self.instance, self.action, self.fresh, self.rewriting)
