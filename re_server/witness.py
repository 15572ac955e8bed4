"""Tells the ledger of every result, and of every hit."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace

from google.protobuf.timestamp_pb2 import Timestamp

from action_cache.mode import Mode
from action_cache.results import ActionKey, Kept, Origin, Pin, Proposal
from cas.digest import Digest
from determinism.ledger.store import Ledger
from determinism.observation import Observation, Source
from determinism.outcome import outcome_of
from determinism.policy import Decision, Verdict
from determinism.proposals import Ruling
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_server.caller import Caller
from re_server.executions import Execution, Reran
from scheduler.attached import Ran

NOTHING_LEARNED: frozenset[str] = frozenset()
NOBODY = Caller()


@dataclass(frozen=True, slots=True)
class Conflict:
    """A result that was not the pinned one. number: of its observation in the ledger.

    pin: None where its blobs are gone. execution: None where a client uploaded the result.
    """

    number: int
    key: ActionKey
    pin: Pin | None
    new: Kept
    decision: Decision
    observation: Observation
    execution: Execution | None


class Witness:
    """Makes observations of results.

    ledger: None where none is kept. rewritten_files, rewritten_bytes: by format, since the start.
    """

    def __init__(self, ledger: Ledger | None) -> None:
        self.ledger = ledger
        self.rewritten_files: Counter[str] = Counter()
        self.rewritten_bytes: Counter[str] = Counter()

    def formats_for(self, program: str) -> frozenset[str]:
        """Return the formats that outputs of `program` were seen to differ in."""
        return self.ledger.formats_for(program) if self.ledger else NOTHING_LEARNED

    def hit(self, key: ActionKey) -> None:
        """Note that the action was answered from the cache."""
        if self.ledger is not None:
            self.ledger.hit(key)

    def executed(
        self, execution: Execution, new: Kept, ran: Ran, decision: Decision
    ) -> Conflict | None:
        """Note the result of an execution; return what it contradicts."""
        self._count(ran.report)
        key = ActionKey(execution.instance, execution.action)
        observation = replace(
            observed(
                key,
                new.result,
                ran,
                source=Source.SERVICE,
                program=execution.program,
                input_root=execution.input_root,
                caller=execution.caller,
            ),
            mode=execution.mode,
            references=new.references,
        )
        return self._noted(observation, new, decision, execution)

    def uploaded(
        self,
        key: ActionKey,
        new: Kept,
        decision: Decision,
        *,
        caller: Caller,
        program: str,
        mode: Mode,
        input_root: Digest,
    ) -> Conflict | None:
        """Note a result that a client has uploaded; return what it contradicts."""
        observation = replace(
            _uploaded(key, new, program),
            mnemonic=caller.mnemonic,
            target=caller.target,
            invocation=caller.invocation,
            tool=caller.tool,
            input_root=input_root,
            seconds=seconds_of(new.result),
            mode=mode,
        )
        return self._noted(observation, new, decision, None)

    def promoted(self, key: ActionKey, first: Proposal, decision: Decision, *, mode: Mode) -> None:
        """Note that what several have proposed is everyone's now."""
        self._noted(replace(_proposed(key, first), mode=mode), first.kept, decision, None)

    def ruled(self, key: ActionKey, proposal: Proposal, ruling: Ruling) -> None:
        """Note what a proposal was to the result that became everyone's."""
        if self.ledger is not None and ruling is not Ruling.UNDECIDED:
            self.ledger.record(replace(_proposed(key, proposal), verdict=ruling))

    def verified(
        self, key: ActionKey, reran: Reran, new: Kept, decision: Decision, *, mode: Mode
    ) -> None:
        """Note a run of the server's own whose result is kept."""
        observation = observed(
            key,
            reran.result,
            reran.ran,
            source=Source.PROPOSAL,
            program=reran.request.program,
            input_root=reran.request.input_root,
        )
        observation = replace(observation, mode=mode, references=new.references)
        self._noted(observation, new, decision, None)

    def reran(self, key: ActionKey, reran: Reran, source: Source) -> int:
        """Note a run of the server's own; return its number."""
        if self.ledger is None:
            return 0
        return self.ledger.record(
            observed(
                key,
                reran.result,
                reran.ran,
                source=source,
                program=reran.request.program,
                input_root=reran.request.input_root,
            )
        )

    def _noted(
        self, observation: Observation, new: Kept, decision: Decision, execution: Execution | None
    ) -> Conflict | None:
        observation = replace(observation, verdict=decision.verdict)
        number = self.ledger.record(observation) if self.ledger else 0
        if not decision.differences or decision.verdict is Verdict.REPLACED:
            return None
        pin = decision.slot.pin if decision.verdict is Verdict.CONFLICT else None
        return Conflict(number, observation.key, pin, new, decision, observation, execution)

    def _count(self, report: worker_pb2.Report) -> None:
        for each in report.rewritten:
            for name in each.formats:
                self.rewritten_files[name] += 1
                self.rewritten_bytes[name] += each.bytes


def _proposed(key: ActionKey, proposal: Proposal) -> Observation:
    """Make an observation of a proposal; who ran it is its writer.

    What else its writer says of the action is left out: an action's running time, target and
    mnemonic would be known by it, and savings reckoned with it.
    """
    return replace(
        _uploaded(key, proposal.kept, proposal.origin.program),
        worker=proposal.writer,
        invocation=proposal.origin.invocation,
    )


def _uploaded(key: ActionKey, new: Kept, program: str) -> Observation:
    """Make an observation of a result of which nothing else is known."""
    begun, ended = span_of(new.result)
    return Observation(
        key=key,
        at=time.time(),
        source=Source.UPLOAD,
        verdict=None,
        worker="",
        toolchain="",
        switches=(),
        rules="",
        program=program,
        version="",
        mnemonic="",
        target="",
        invocation="",
        tool="",
        input_root=None,
        seconds=0,
        exit_code=new.result.exit_code,
        outcome=outcome_of(new.result, key.action.function),
        before={},
        formats={},
        root="",
        begun=begun,
        ended=ended,
        references=new.references,
    )


def origin_of(execution: Execution, ran: Ran) -> Origin:
    """Say where the result of an execution comes from."""
    return Origin(
        program=execution.program,
        target=execution.caller.target,
        mnemonic=execution.caller.mnemonic,
        invocation=execution.caller.invocation,
        toolchain=ran.toolchain,
        rules=ran.report.rules,
    )


def observed(
    key: ActionKey,
    result: reapi.ActionResult,
    ran: Ran,
    *,
    source: Source,
    program: str,
    input_root: Digest | None,
    caller: Caller = NOBODY,
) -> Observation:
    """Make an observation of a run. program: what the server takes it to be; the worker knows."""
    begun, ended = span_of(result)
    report = ran.report
    return Observation(
        key=key,
        at=time.time(),
        source=source,
        verdict=None,
        worker=ran.worker,
        toolchain=ran.toolchain,
        switches=tuple(report.switches),
        rules=report.rules,
        program=report.program or program,
        version=report.program_version,
        mnemonic=caller.mnemonic,
        target=caller.target,
        invocation=caller.invocation,
        tool=caller.tool,
        input_root=input_root,
        seconds=ended - begun,
        exit_code=result.exit_code,
        outcome=outcome_of(result, key.action.function),
        before={
            each.path: f"{each.before.hash}/{each.before.size_bytes}" for each in report.rewritten
        },
        formats={each.path: tuple(each.formats) for each in report.rewritten},
        replaced={each.path: each.bytes for each in report.rewritten},
        root=report.root,
        begun=begun,
        ended=ended,
    )


def seconds_of(result: reapi.ActionResult) -> float:
    """Return how many seconds the action ran; 0 where it is not said."""
    begun, ended = span_of(result)
    return ended - begun


def span_of(result: reapi.ActionResult) -> tuple[float, float]:
    """Return when the command began and ended, in seconds since 1970; 0 where it is not said."""
    metadata = result.execution_metadata
    return _seconds(metadata.execution_start_timestamp), _seconds(
        metadata.execution_completed_timestamp
    )


def _seconds(timestamp: Timestamp) -> float:
    return timestamp.ToNanoseconds() / 1e9
