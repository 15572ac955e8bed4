"""The ActionCache service."""

from __future__ import annotations

from collections.abc import Callable

from action_cache.mode import Mode
from action_cache.references import complete
from action_cache.results import ActionKey, Kept, Origin
from cas.digest import Digest
from cas.store import BlobNotFound, BlobStore
from cas.tree import MissingInputs, TreeLimits
from determinism.judge import Judge
from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc
from re_client.status import NotAllowed, NotServed, Refused
from re_config.determinism_tables import Instance
from re_server.actions import LoadedAction, load_action
from re_server.caller import Caller, caller_of
from re_server.hits import Hit, Hits
from re_server.inlining import inlined
from re_server.instances import Instances
from re_server.overlay import Overlay, proposer
from re_server.proposing import Proposing, check_may_replace
from re_server.rpc import Context
from re_server.witness import Conflict, Witness

UPLOADER = "uploaded"  # worker name of results whose client names none: metadata is never empty
REPLACE_HEADER, REPLACE = "holdfast-pin", "replace"


class ActionCacheService(remote_execution_pb2_grpc.ActionCacheServicer):
    """build.bazel.remote.execution.v2.ActionCache.

    remembered_bytes: blobs up to this size are not looked at again while a hit is remembered.
    max_inline_bytes: bound on what is put into one result. max_message_bytes: on an Action.
    uploaded: told of each result that was compared, its input root, and what it contradicts.
    """

    raw_methods = frozenset({"GetActionResult"})

    def __init__(
        self,
        instances: Instances,
        blobs: BlobStore,
        overlay: Overlay,
        judge: Judge,
        hits: Hits,
        *,
        remembered_bytes: int,
        max_inline_bytes: int,
        max_message_bytes: int,
        limits: TreeLimits,
        witness: Witness,
        proposing: Proposing,
        uploaded: Callable[[ActionKey, Digest, Conflict | None], object],
    ) -> None:
        self._witness = witness
        self._proposing = proposing
        self._uploaded = uploaded
        self._instances = instances
        self._blobs = blobs
        self._overlay = overlay
        self._judge = judge
        self._hits = hits
        self._remembered_bytes = remembered_bytes
        self._max_inline_bytes = max_inline_bytes
        self._max_message_bytes = max_message_bytes
        self._limits = limits

    async def GetActionResult(self, request: bytes, context: Context) -> bytes:  # type: ignore[override]  # raw, see hits.py
        known = self._hits.get(request)
        if known is not None and (
            not known.files or not await self._blobs.find_missing(known.files)
        ):
            self._overlay.remembered()
            self._witness.hit(known.key)
            return known.answer
        moment = self._hits.moment
        parsed = reapi.GetActionResultRequest.FromString(request)
        key = self._key(parsed.instance_name, parsed.action_digest, parsed.digest_function)
        found = await self._overlay.find(key)
        if found is None:
            raise NotServed(f"no result of action {key.action} is in the cache")
        kept = found.kept
        result = await inlined(
            kept.result,
            parsed,
            function=key.action.function,
            blobs=self._blobs,
            max_bytes=self._max_inline_bytes,
        )
        answer = result.SerializeToString()
        if found.own:
            return answer  # and remembered for nobody: others send the same request
        self._witness.hit(key)
        files = tuple(digest for digest in kept.references if digest.size > self._remembered_bytes)
        self._hits.add(request, Hit(key, answer, files), moment)
        return answer

    async def UpdateActionResult(
        self, request: reapi.UpdateActionResultRequest, context: Context
    ) -> reapi.ActionResult:
        """Keep a client's result; answer what is kept.

        A caller who may only propose results is checked as any other; see Proposing.
        Source: remote_execution.proto, ActionCache.UpdateActionResult: what the result refers to,
        the Action and the Command are there before it. Results are never rewritten, since
        clients do not read the answer; only metadata that has to be there is added.
        """
        key = self._key(request.instance_name, request.action_digest, request.digest_function)
        instance = self._instances.find(key.instance)
        writer = proposer(key.instance)
        replace = asked_to_replace(context, instance)
        check_may_replace(writer, asked=replace)
        if not request.HasField("action_result"):
            raise Refused("action_result: must be there")
        result = request.action_result
        if not result.HasField("execution_metadata") or not result.execution_metadata.worker:
            result.execution_metadata.worker = UPLOADER
        loaded = await self._loaded(key.action, instance)
        kept = await complete(result, key.action.function, self._blobs, self._limits)
        if result.exit_code != 0:
            return result  # a hit is always a success; see docs/decisions
        caller = caller_of(context)
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
            self._uploaded(key, loaded.input_root, conflict)
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

    def _key(self, instance: str, message: reapi.Digest, function: int) -> ActionKey:
        digest = self._instances.digest(instance, function, message, field="action_digest")
        return ActionKey(instance, digest)


def _origin(loaded: LoadedAction | None, caller: Caller) -> Origin:
    return Origin(
        program=loaded.program if loaded is not None else "",
        target=caller.target,
        mnemonic=caller.mnemonic,
        invocation=caller.invocation,
    )


def asked_to_replace(context: Context, instance: Instance) -> bool:
    """Tell whether the caller asks to replace the pin; raise NotAllowed if it may not."""
    headers = dict(context.invocation_metadata() or ())
    if REPLACE_HEADER not in headers:
        return False
    if headers[REPLACE_HEADER] != REPLACE:
        raise Refused(
            f"header {REPLACE_HEADER} {headers[REPLACE_HEADER]!r}: may only be {REPLACE!r}"
        )
    if not instance.allow_pin_replace:
        raise NotAllowed(
            f"header {REPLACE_HEADER}: pins are not to be replaced in this instance; "
            "allow_pin_replace = true in its configuration allows it"
        )
    return True
