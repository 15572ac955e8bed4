"""The Execution service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from google.longrunning import operations_pb2

from access.admission import Admission
from access.identity import current_identity
from action_cache.results import ActionKey
from cas.digest import Digest
from cas.store import BlobStore
from cas.tree import MissingInputs, TreeLimits
from protos import remote_execution_pb2 as reapi, remote_execution_pb2_grpc
from re_client.status import NotServed, Overloaded, Refused
from re_config.determinism_tables import Instance
from re_config.schema import Execution as Settings
from re_server.action_cache_service import asked_to_replace
from re_server.actions import LoadedAction, load_action, missing_inputs
from re_server.caller import caller_of
from re_server.executions import Execution, rewriting_of, timeout_of
from re_server.inlining import InlineHints, inlined
from re_server.instances import Instances
from re_server.operations import operation_message
from re_server.overlay import Overlay
from re_server.rpc import Context
from re_server.witness import Witness
from scheduler.dispatch import Dispatcher
from scheduler.operation import Operation
from scheduler.queue import Draining, QueueFull
from scheduler.register import OperationNotFound

HELD = "executions"  # what of a caller's limits they count for


class ExecutionService(remote_execution_pb2_grpc.ExecutionServicer):
    """build.bazel.remote.execution.v2.Execution.

    max_message_bytes: bound on an Action and a Command. max_inline_bytes: on what is put into one
    result. limits: bounds on an input root.
    """

    def __init__(
        self,
        instances: Instances,
        blobs: BlobStore,
        overlay: Overlay,
        dispatcher: Dispatcher,
        settings: Settings,
        *,
        admission: Admission,
        max_message_bytes: int,
        max_inline_bytes: int,
        limits: TreeLimits,
        witness: Witness,
    ) -> None:
        self._instances = instances
        self._blobs = blobs
        self._overlay = overlay
        self._witness = witness
        self._dispatcher = dispatcher
        self._admission = admission
        self._settings = settings
        self._max_message_bytes = max_message_bytes
        self._max_inline_bytes = max_inline_bytes
        self._limits = limits

    async def Execute(
        self, request: reapi.ExecuteRequest, context: Context
    ) -> AsyncIterator[operations_pb2.Operation]:
        digest = self._instances.digest(
            request.instance_name,
            request.digest_function,
            request.action_digest,
            field="action_digest",
        )
        instance = self._instances.find(request.instance_name)
        replace = asked_to_replace(context, request.instance_name, instance)
        loaded = await self._loaded(digest)
        caller = caller_of(context)
        execution = Execution(
            instance=request.instance_name,
            action=digest,
            platform=loaded.platform,
            priority=request.execution_policy.priority,
            invocation=caller.invocation,
            input_root=loaded.input_root,
            named=loaded.named,
            timeout_seconds=timeout_of(loaded.action, self._settings),
            rewriting=rewriting_of(loaded, instance, self._witness.formats_for),
            mergeable=not (loaded.action.do_not_cache or replace),
            cacheable=not loaded.action.do_not_cache,
            fresh=request.skip_cache_lookup or replace,
            mnemonic=caller.mnemonic,
            mode=loaded.mode or instance.determinism,
            replace=replace,
            program=loaded.program,
            caller=caller,
        )
        operation = await self._begun(execution, loaded, instance)
        async for message in self._told(operation, request):
            yield message

    async def WaitExecution(
        self, request: reapi.WaitExecutionRequest, context: Context
    ) -> AsyncIterator[operations_pb2.Operation]:
        """Tell the current state at once, then as Execute does.

        Source: remote_execution.proto, Execution.WaitExecution: NOT_FOUND makes clients execute
        again.
        """
        try:
            operation = self._dispatcher.find(request.name)
        except OperationNotFound as error:
            raise NotServed(str(error)) from None
        async for message in self._told(operation):
            yield message

    async def _loaded(self, action: Digest) -> LoadedAction:
        try:
            return await load_action(self._blobs, action, max_bytes=self._max_message_bytes)
        except MissingInputs as error:
            raise await missing_inputs(
                self._blobs,
                action,
                error,
                max_bytes=self._max_message_bytes,
                limits=self._limits,
            ) from None

    async def _begun(
        self, execution: Execution, loaded: LoadedAction, instance: Instance
    ) -> Operation:
        """Answer from the cache, or have the action run."""
        if loaded.input_root is None:
            raise Refused(f"Action {execution.action} has no input_root_digest")
        if not execution.fresh and execution.cacheable:
            key = ActionKey(execution.instance, execution.action)
            found = await self._overlay.find(key)
            if found is not None:
                if not found.own:
                    self._witness.hit(key)
                response = reapi.ExecuteResponse(result=found.kept.result, cached_result=True)
                return self._dispatcher.completed(execution, response)
        try:
            return self._queued(execution)
        except QueueFull as error:
            raise Overloaded(str(error)) from None
        except Draining as error:
            raise ConnectionError(str(error)) from None

    def _queued(self, execution: Execution) -> Operation:
        """Have the action run, and count it for its caller until that has ended."""
        caller = current_identity.get()
        if caller.limits is None:
            return self._dispatcher.execute(execution)
        self._admission.hold(caller, HELD, caller.limits.executions)
        let_go = partial(self._admission.let_go, caller, HELD)
        try:
            operation = self._dispatcher.execute(execution)
        except (QueueFull, Draining):
            let_go()
            raise
        operation.when_done(let_go)
        return operation

    async def _told(
        self, operation: Operation, hints: InlineHints | None = None
    ) -> AsyncIterator[operations_pb2.Operation]:
        """Yield each state as it comes, and the current one again when nothing has changed.

        hints: what the client wants to have in the result itself.
        """
        async with operation.watch() as states:
            ended = False
            while not ended:
                try:
                    async with asyncio.timeout(self._settings.heartbeat_seconds):
                        state = await anext(states)
                except TimeoutError:
                    state = operation.state
                ended = state.done
                if state.response is not None and hints is not None:
                    state = replace(
                        state, response=await self._inlined(operation, state.response, hints)
                    )
                yield operation_message(operation, state)

    async def _inlined(
        self, operation: Operation, response: reapi.ExecuteResponse, hints: InlineHints
    ) -> reapi.ExecuteResponse:
        result = await inlined(
            response.result,
            hints,
            function=operation.request.action.function,
            blobs=self._blobs,
            max_bytes=self._max_inline_bytes,
        )
        if result is response.result:
            return response
        filled = reapi.ExecuteResponse()
        filled.CopyFrom(response)
        filled.result.CopyFrom(result)
        return filled
