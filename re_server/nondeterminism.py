"""What the ledger knows of results that differ, as messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from action_cache.results import ActionKey, ResultStore
from cas.wire import TO_WIRE, digest_to
from determinism.difference import Attributed
from determinism.ledger.reading import LedgerUnreadable
from determinism.ledger.rows import Consumer, Group, Grouping, Observed
from determinism.ledger.store import Ledger
from protos import admin_pb2 as admin
from re_client.status import NotServed, Refused, Unserved
from re_server.pin_message import pin_message, seconds_of

LIMIT = 20  # groups in an answer, where the request does not say
MOST = 10_000  # that can be asked for

_GROUPINGS = {
    number: Grouping(name.lower())
    for name, number in admin.ListNondeterminismRequest.Grouping.items()
}


class Nondeterminism:
    """Answers from the ledger, None where none is kept, and from the pins."""

    def __init__(self, ledger: Ledger | None, results: ResultStore) -> None:
        self._ledger = ledger
        self._results = results

    async def list(
        self, request: admin.ListNondeterminismRequest
    ) -> admin.ListNondeterminismResponse:
        """Return what differs, the worst first. Raises NotServed, Refused, Unserved."""
        grouping = _GROUPINGS.get(request.grouping)
        if grouping is None:
            raise Refused(f"grouping {request.grouping}: there is none of that number")
        if not 0 <= request.limit <= MOST:
            raise Refused(f"limit {request.limit}: must be between 0 and {MOST}")
        since = seconds_of(request.since, "since") if request.HasField("since") else 0.0
        async with self._asked() as ledger:
            groups = await ledger.groups(
                request.instance_name, since, grouping, request.limit or LIMIT
            )
            counts = await ledger.counts(request.instance_name, since)
        return admin.ListNondeterminismResponse(
            groups=[_group(each) for each in groups],
            observations=counts.observations,
            actions=counts.actions,
            conflicts=counts.conflicts,
            latent=counts.latent,
            audited_actions=counts.audited,
        )

    async def explain(self, key: ActionKey) -> admin.Explanation:
        """Return all that is known of an action. Raises NotServed if nothing is, Unserved."""
        async with self._asked() as ledger:
            found = await ledger.explain(key)
        if found is None:
            raise NotServed(
                f"the ledger knows nothing of action {key.action} of instance {key.instance!r}"
            )
        pin = await self._results.pin(key)
        return admin.Explanation(
            summary=_group(found.summary),
            pin=pin_message(key, pin, brief=True) if pin is not None else None,
            differences=[
                difference_message(each.attributed, latent=each.latent)
                for each in found.differences
            ],
            observations=[_observed(each) for each in found.observations],
            consumers=[_consumer(each) for each in found.consumers],
        )

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[Ledger]:
        """Yield the ledger; raise NotServed if there is none, Unserved if it cannot be read."""
        if self._ledger is None:
            raise NotServed("no ledger is kept here: ledger.enabled is false")
        try:
            yield self._ledger
        except LedgerUnreadable as error:
            raise Unserved(str(error)) from None


def difference_message(found: Attributed, *, latent: bool) -> admin.Difference:
    """Return what is told of a difference. latent: found by an audit, not in service."""
    return admin.Difference(
        where=found.where,
        first=found.first,
        then=found.then,
        format=found.format,
        part=found.part,
        ranges=[admin.Range(start=start, end=end) for start, end in found.ranges],
        first_text=found.first_text,
        then_text=found.then_text,
        cause=found.cause,
        evidence=found.evidence,
        latent=latent,
    )


def _group(group: Group) -> admin.Nondeterminism:
    return admin.Nondeterminism(
        name=group.name,
        action_digest=digest_to(group.key.action),
        digest_function=TO_WIRE[group.key.action.function],
        program=group.program,
        target=group.target,
        mnemonic=group.mnemonic,
        causes=group.causes,
        actions=group.actions,
        conflicts=group.conflicts,
        latent=group.latent,
        saved_actions=group.saved_actions,
        saved_seconds=group.saved_seconds,
        streams_only=group.streams_only,
    )


def _observed(seen: Observed) -> admin.Observed:
    return admin.Observed(
        at=_timestamp(seen.at),
        source=seen.source,
        verdict=seen.verdict,
        worker=seen.worker,
        toolchain=seen.toolchain,
        rules=seen.rules,
        switches=seen.switches,
        invocation=seen.invocation,
        duration=_duration(seen.seconds),
    )


def _consumer(consumer: Consumer) -> admin.Consumer:
    return admin.Consumer(
        action_digest=digest_to(consumer.key.action),
        target=consumer.target,
        mnemonic=consumer.mnemonic,
        distance=consumer.distance,
        duration=_duration(consumer.seconds),
        saved=consumer.saved,
    )


def _timestamp(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromMicroseconds(round(seconds * 1e6))
    return made


def _duration(seconds: float) -> Duration:
    made = Duration()
    made.FromMicroseconds(round(seconds * 1e6))
    return made
