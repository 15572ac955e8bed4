"""What a client asks to be run."""

from __future__ import annotations

from dataclasses import dataclass

from cas.digest import Digest

MergeKey = tuple[str, Digest, bool, bool]


@dataclass(frozen=True, slots=True)
class Request:
    """One call of Execute, checked.

    platform: pairs of name and value, as the action (or its command) has them.
    priority: lower is more urgent. Source: remote_execution.proto, message ExecutionPolicy.
    invocation: the client's tool_invocation_id; "" where it sends none.
    input_root: None where it is not known; then no worker is preferred.
    named: blobs that the action names, which its worker will read first.
    timeout_seconds: bound on the action's own running time.
    canonicalise: whether outputs are brought into canonical form.
    mergeable: whether one execution may answer several requests; not so for do_not_cache.
    fresh: whether only an execution that begins after this request may answer it
        (skip_cache_lookup).
    """

    instance: str
    action: Digest
    platform: tuple[tuple[str, str], ...]
    priority: int
    invocation: str
    input_root: Digest | None
    named: tuple[Digest, ...]
    timeout_seconds: float
    canonicalise: bool
    mergeable: bool
    fresh: bool

    @property
    def merge_key(self) -> MergeKey | None:
        """What requests have in common that one execution answers; None if there are none."""
        if not self.mergeable:
            return None
        return (self.instance, self.action, self.fresh, self.canonicalise)
