"""What is asked of the scheduler: requests of clients, and runs of the server's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from action_cache.mode import Mode
from protos import remote_execution_pb2 as reapi, worker_pb2
from re_client.status import Refused
from re_config.determinism_tables import Instance
from re_config.schema import Execution as Settings
from re_server.actions import EXTENTS, LoadedAction
from re_server.caller import Caller
from scheduler.attached import Ran
from scheduler.request import Request, Rewriting, TextRule

LEAST_URGENT = 1 << 30  # priority of the server's own runs: after everything a client asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution(Request):
    """A client's request to execute, with what becomes of its result.

    cacheable: not so for do_not_cache. mode: how strictly the result is held to the first one.
    replace: it takes the pin's place, and is answered to nobody who did not ask for that.
    program: what the action runs, without its folder.
    """

    cacheable: bool
    mode: Mode
    replace: bool
    program: str
    caller: Caller = field(default_factory=Caller)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun(Request):
    """A run of the server's own, whose result is kept nowhere.

    program: what the action runs, without its folder. ran: filled in when it has ended.
    """

    program: str
    ran: list[Ran] = field(default_factory=list, compare=False)


class Reran(NamedTuple):
    """What such a run gave, and how it came about."""

    result: reapi.ActionResult
    ran: Ran
    request: Rerun


def rewriting_of(
    loaded: LoadedAction, instance: Instance, learned: Callable[[str], frozenset[str]]
) -> Rewriting:
    """Settle how the action's outputs are brought into canonical form.

    learned: the formats that a program's outputs were seen to differ in.
    """
    extent = EXTENTS[instance.canonicalise] if loaded.extent is None else loaded.extent
    if extent == worker_pb2.Canonicalise.NOTHING:
        return Rewriting()
    return Rewriting(
        extent,
        tuple(sorted({*instance.formats, *learned(loaded.program)})),
        tuple(
            TextRule(rule.name, rule.pattern, rule.fill, rule.outputs, rule.mnemonic)
            for rule in instance.text_rules
        ),
    )


def timeout_of(action: reapi.Action, settings: Settings) -> float:
    """Settle how many seconds the action may run.

    Source: remote_execution.proto, Action.timeout: more than the server allows is refused.
    """
    if not action.HasField("timeout"):
        return settings.default_timeout_seconds
    seconds = action.timeout.seconds + action.timeout.nanos / 1e9
    longest = settings.max_timeout_seconds
    if not 0 <= seconds <= longest:
        raise Refused(
            f"Action.timeout is {seconds} s: must be from 0 to "
            f"execution.max_timeout_seconds = {longest}"
        )
    return seconds or settings.default_timeout_seconds
