"""Audits that people ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from action_cache.results import ActionKey
from cas.wire import digest_to
from determinism.ledger.store import Ledger
from protos import admin_pb2 as admin
from re_client.status import NotServed, Refused
from re_server.auditing import Audited, Auditor
from re_server.instances import Instances
from re_server.nondeterminism import difference_message
from re_server.reruns import UNRUNNABLE

log = logging.getLogger(__name__)

MOST_RUNS = 100  # for each factor


class Audits:
    """Finds the actions that a request names, and audits them one after the other."""

    def __init__(self, instances: Instances, ledger: Ledger | None, auditor: Auditor) -> None:
        self._instances = instances
        self._ledger = ledger
        self._auditor = auditor

    async def run(self, request: admin.AuditRequest) -> AsyncIterator[admin.AuditProgress]:
        """Yield how it goes: at once, after each run, and after each action.

        Raises Refused and NotServed where nothing can be audited.
        """
        if not 0 <= request.runs <= MOST_RUNS:
            raise Refused(f"runs {request.runs}: must be between 0 and {MOST_RUNS}")
        keys = await self._keys(request)
        progress = admin.AuditProgress(actions=len(keys))
        yield progress
        for key in keys:
            arms: asyncio.Queue[str] = asyncio.Queue()
            auditing = asyncio.ensure_future(self._audited(key, request.runs, arms))
            auditing.add_done_callback(lambda _, arms=arms: arms.put_nowait(""))  # type: ignore[misc]  # no default for it
            try:
                while arm := await arms.get():
                    progress.runs += 1
                    progress.arm = arm
                    yield progress
            finally:
                auditing.cancel()  # where the client is gone
            progress.done += 1
            progress.audited.CopyFrom(auditing.result())
            yield progress
            progress.ClearField("audited")

    async def _audited(self, key: ActionKey, runs: int, arms: asyncio.Queue[str]) -> admin.Audited:
        try:
            audited = await self._auditor.audit(key, runs=runs, on_run=arms.put_nowait)
        except UNRUNNABLE as error:
            return admin.Audited(action_digest=digest_to(key.action), error=str(error))
        except Exception as error:  # the others of the request are audited even so
            log.exception("action %s could not be audited", key.action)
            return admin.Audited(action_digest=digest_to(key.action), error=repr(error))
        return _message(key, audited)

    async def _keys(self, request: admin.AuditRequest) -> list[ActionKey]:
        named = [request.HasField("action_digest"), request.invocation != "", request.target != ""]
        if sum(named) != 1:
            raise Refused("name one of action_digest, invocation and target")
        if request.HasField("action_digest"):
            digest = self._instances.digest(
                request.instance_name,
                request.digest_function,
                request.action_digest,
                field="action_digest",
            )
            return [ActionKey(request.instance_name, digest)]
        if self._ledger is None:
            raise NotServed(
                "which actions an invocation or a target had is known from the ledger, and none is "
                "kept: ledger.enabled is false"
            )
        found = await self._ledger.actions_of(
            instance=request.instance_name, invocation=request.invocation, target=request.target
        )
        if not found:
            raise NotServed(
                f"no action of instance {request.instance_name!r} is known for "
                f"{request.invocation or request.target!r}"
            )
        return found


def _message(key: ActionKey, audited: Audited) -> admin.Audited:
    conclusion = audited.conclusion
    return admin.Audited(
        action_digest=digest_to(key.action),
        differs=conclusion.differs,
        differences=[difference_message(each, latent=True) for each in audited.differences],
        runs=conclusion.runs,
    )
