"""Results that clients made, whichever way they come in."""

from __future__ import annotations

from collections.abc import Callable

from action_cache.mode import Mode
from action_cache.references import complete
from action_cache.results import ActionKey, Kept, Origin
from cas.digest import Digest
from cas.store import BlobNotFound, BlobStore
from cas.tree import MissingInputs, TreeLimits
from determinism.judge import Judge
from protos import remote_execution_pb2 as reapi
from re_config.determinism_tables import Instance
from re_server.actions import LoadedAction, load_action
from re_server.caller import Caller
from re_server.hits import Hits
from re_server.overlay import proposer
from re_server.proposing import Proposing, check_may_replace
from re_server.witness import Conflict, Witness

UPLOADER = "uploaded"  # worker name of results whose client names none: metadata is never empty


class ResultUploads:
    """Holds each result against the pin of its action, and keeps it, or what it gives way to.

    max_message_bytes: bound on an Action. compared: told of each result that was compared, its
    input root, and what it contradicts.
    """

    def __init__(
        self,
        blobs: BlobStore,
        judge: Judge,
        hits: Hits,
        *,
        max_message_bytes: int,
        limits: TreeLimits,
        witness: Witness,
        proposing: Proposing,
        compared: Callable[[ActionKey, Digest, Conflict | None], object],
    ) -> None:
        self._blobs = blobs
        self._judge = judge
        self._hits = hits
        self._max_message_bytes = max_message_bytes
        self._limits = limits
        self._witness = witness
        self._proposing = proposing
        self._compared = compared

    async def keep(
        self,
        key: ActionKey,
        result: reapi.ActionResult,
        instance: Instance,
        caller: Caller,
        *,
        replace: bool,
    ) -> reapi.ActionResult:
        """Keep a client's result; return what is kept.

        A caller who may only propose results is checked as any other; see Proposing.
        Source: remote_execution.proto, ActionCache.UpdateActionResult: what the result refers to,
        the Action and the Command are there before it. Results are never rewritten, since
        clients do not read the answer; only metadata that has to be there is added.
        Raises NotAllowed, MissingInputs, InvalidDigest, InvalidMessage.
        """
        writer = proposer(key.instance)
        check_may_replace(writer, asked=replace)
        if not result.HasField("execution_metadata") or not result.execution_metadata.worker:
            result.execution_metadata.worker = UPLOADER
        loaded = await self._loaded(key.action, instance)
        kept = await complete(result, key.action.function, self._blobs, self._limits)
        if result.exit_code != 0:
            return result  # a hit is always a success; see docs/decisions
        if writer:
            answer = await self._proposing.propose(
                key, kept, loaded, instance, writer=writer, origin=_origin(loaded, caller)
            )
        else:
            answer = await self._settled(key, kept, loaded, instance, caller, replace=replace)
        return answer.result

    async def _settled(
        self,
        key: ActionKey,
        kept: Kept,
        loaded: LoadedAction | None,
        instance: Instance,
        caller: Caller,
        *,
        replace: bool,
    ) -> Kept:
        self._hits.forget(key)
        try:
            if loaded is None or loaded.input_root is None:
                await self._judge.keep(key, kept)
                return kept
            if loaded.action.do_not_cache:
                return kept
            mode = loaded.mode or instance.determinism
            # What a client made is not failed for a difference: it is answered the pinned result.
            mode = Mode.PIN if mode is Mode.STRICT else mode
            origin = _origin(loaded, caller)
            decision = await self._judge.settle(key, kept, mode, replace=replace, origin=origin)
            conflict = self._witness.uploaded(
                key,
                kept,
                decision,
                caller=caller,
                program=loaded.program,
                mode=mode,
                input_root=loaded.input_root,
            )
            self._compared(key, loaded.input_root, conflict)
            return decision.answer
        finally:
            self._hits.forget(key)

    async def _loaded(self, action: Digest, instance: Instance) -> LoadedAction | None:
        """Read the Action; None where it is not there and need not be."""
        try:
            return await load_action(self._blobs, action, max_bytes=self._max_message_bytes)
        except (MissingInputs, BlobNotFound):
            if instance.update_requires_action:
                raise
            return None


def _origin(loaded: LoadedAction | None, caller: Caller) -> Origin:
    return Origin(
        program=loaded.program if loaded is not None else "",
        target=caller.target,
        mnemonic=caller.mnemonic,
        invocation=caller.invocation,
    )
