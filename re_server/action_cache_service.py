"""The ActionCache service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from access.identity import Right, current_identity
from access.refusal import RightMissing
from action_cache.results import ActionKey
from cas.store import BlobNotFound, BlobStore
from cas.tree import MissingInputs
from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc
from re_client.status import NotAllowed, NotServed, Refused
from re_config.determinism_tables import Instance
from re_server.action_keys import ActionKeys
from re_server.caller import caller_of
from re_server.hits import Hit, Hits
from re_server.inlining import inlined
from re_server.instances import Instances
from re_server.overlay import Overlay
from re_server.result_uploads import ResultUploads
from re_server.rpc import Context
from re_server.witness import Witness

Request = reapi.GetActionResultRequest | reapi.UpdateActionResultRequest

REPLACE_HEADER, REPLACE = "holdfast-pin", "replace"
WAITS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)  # together 13 s


class ActionCacheService(remote_execution_pb2_grpc.ActionCacheServicer):
    """build.bazel.remote.execution.v2.ActionCache.

    remembered_bytes: blobs up to this size are not looked at again while a hit is remembered.
    max_inline_bytes: bound on what is put into one result.
    """

    raw_methods = frozenset({"GetActionResult"})

    def __init__(
        self,
        instances: Instances,
        blobs: BlobStore,
        overlay: Overlay,
        uploads: ResultUploads,
        hits: Hits,
        *,
        keys: ActionKeys,
        remembered_bytes: int,
        max_inline_bytes: int,
        witness: Witness,
    ) -> None:
        self._witness = witness
        self._uploads = uploads
        self._instances = instances
        self._blobs = blobs
        self._overlay = overlay
        self._hits = hits
        self._keys = keys
        self._remembered_bytes = remembered_bytes
        self._max_inline_bytes = max_inline_bytes

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
        key = self._key(parsed, self._keys.to_read)
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
        """Keep a client's result; answer what is kept."""
        name = request.instance_name
        instance = self._instances.find(name)
        replace = asked_to_replace(context, name, instance)
        if not request.HasField("action_result"):
            raise Refused("action_result: must be there")

        async def keep() -> reapi.ActionResult:
            key = self._key(request, self._keys.to_keep)
            return await self._uploads.keep(
                key, request.action_result, instance, caller_of(context), replace=replace
            )

        return await (_patiently(keep) if instance.lenient else keep())

    def _key(self, request: Request, by_hash: Callable[[ActionKey], ActionKey]) -> ActionKey:
        """Return the key of a request's action; lenient instances find it `by_hash`."""
        instance, message = request.instance_name, request.action_digest
        function = request.digest_function
        lenient = self._instances.find(instance).lenient
        if lenient and message.size_bytes < 0:
            message = reapi.Digest(hash=message.hash)
        digest = self._instances.digest(instance, function, message, field="action_digest")
        key = ActionKey(instance, digest)
        return by_hash(key) if lenient else key


async def _patiently(keep: Callable[[], Awaitable[reapi.ActionResult]]) -> reapi.ActionResult:
    """Keep a result once all that it refers to is there, which may still be on its way.

    bazel-remote uploads to its backend over many streams, and a result can overtake its blobs.
    """
    for seconds in WAITS_SECONDS:
        try:
            return await keep()
        except (MissingInputs, BlobNotFound):
            await asyncio.sleep(seconds)
    return await keep()


def asked_to_replace(context: Context, name: str, instance: Instance) -> bool:
    """Tell whether the caller asks to replace the pin; raise NotAllowed if it may not.

    name: of the instance.
    """
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
    caller = current_identity.get()
    if not caller.may(Right.PINS, name):
        raise RightMissing(caller.name, (Right.PINS,), name)
    return True
