"""What becomes of a result that a worker has delivered."""

from __future__ import annotations

from collections.abc import Callable

from action_cache.mode import Mode
from action_cache.references import complete
from action_cache.results import ActionKey
from cas.digest import Digest
from cas.store import BlobStore
from cas.tree import TreeLimits
from determinism.judge import Judge
from determinism.policy import Decision, Verdict
from protos import remote_execution_pb2 as reapi
from re_server.executions import Execution, Rerun
from re_server.hits import Hits
from re_server.witness import Conflict, Witness, origin_of, seconds_of
from scheduler.attached import Ran
from scheduler.request import Request

Settled = Callable[[Execution, float, Conflict | None], object]

DIFFERENT = 1  # exit code of an action in strict mode whose result is not its first one


class Settlement:
    """Keeps results of executions by the policy of pinning, and says what is answered.

    counted: told of every response, as it came from its worker. settled: told of every result that
    was kept or compared, how many seconds it took, and what it contradicts.
    """

    def __init__(
        self,
        blobs: BlobStore,
        judge: Judge,
        hits: Hits,
        limits: TreeLimits,
        witness: Witness,
        *,
        counted: Callable[[reapi.ExecuteResponse], object],
        settled: Settled,
    ) -> None:
        self._blobs = blobs
        self._judge = judge
        self._hits = hits
        self._limits = limits
        self._witness = witness
        self._counted = counted
        self._settled = settled

    async def settle(
        self, request: Request, response: reapi.ExecuteResponse, ran: Ran
    ) -> reapi.ExecuteResponse:
        """Return what is answered for `response`.

        Only a success is kept (exit code 0), and nothing of an action that is not to be cached.
        A request that is not to be answered from the cache gets its own run's result, whatever
        is pinned. Source: remote_execution.proto, ExecuteRequest.skip_cache_lookup.
        """
        if isinstance(request, Rerun):
            request.ran.append(ran)
            return response
        assert isinstance(request, Execution)
        self._counted(response)
        if response.status.code or response.result.exit_code or not request.cacheable:
            return response
        key = ActionKey(request.instance, request.action)
        function = request.action.function
        kept = await complete(response.result, function, self._blobs, self._limits)
        decision = await self._judge.settle(
            key, kept, request.mode, replace=request.replace, origin=origin_of(request, ran)
        )
        self._hits.forget(key)
        conflict = self._witness.executed(request, kept, ran, decision)
        self._settled(request, seconds_of(response.result), conflict)
        if decision.verdict is Verdict.CONFLICT and request.mode is Mode.STRICT:
            return await self._failed(response, decision, request.action)
        if not request.fresh:
            response.result.CopyFrom(decision.answer.result)
        return response

    async def _failed(
        self, response: reapi.ExecuteResponse, decision: Decision, action: Digest
    ) -> reapi.ExecuteResponse:
        """Make a difference a failure of the action: clients retry other errors locally."""
        shown = "\n".join(f"  {difference}" for difference in decision.differences)
        text = (
            f"holdfast: action {action} is not deterministic: this run's result differs from its "
            f"first one (mode strict)\n{shown}\n"
        )
        said = b""
        if response.result.HasField("stderr_digest"):
            old = response.result.stderr_digest
            said = await self._blobs.read_all(Digest(old.hash, old.size_bytes, action.function))
        stderr = said + text.encode()
        digest = Digest.of(stderr, action.function)
        await self._blobs.write_all(stderr, digest)
        response.result.stderr_digest.hash = digest.hash
        response.result.stderr_digest.size_bytes = digest.size
        response.result.exit_code = DIFFERENT
        response.message = text
        return response
