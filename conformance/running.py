"""Runs checks one after the other, and says how each ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from enum import StrEnum

from grpc import StatusCode

from conformance import methods
from conformance.check import Check, Level
from conformance.refusal import AnswerLost, Refused
from conformance.target import Target
from conformance.violation import NotApplicable, Violation
from protos import remote_execution_pb2 as reapi

DEFAULT_SECONDS = 20.0
ALIVE_SECONDS = 10.0  # a server that was mistreated may take to answer the next request
ATTEMPTS = 5  # at a check in which the client's library loses an answer; a few in a thousand do
SHOWN_EXCHANGES = 6  # the last that a failed check made


class Ending(StrEnum):
    """How a check ended. ERROR: it could not be judged, by a fault of the suite or the network."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check's ending. reason: why it did not pass. exchanges: what was said, in lines."""

    check: Check
    ending: Ending
    seconds: float
    reason: str = ""
    exchanges: tuple[str, ...] = ()


async def run(
    checks: Iterable[Check], target: Target, *, seconds: float = DEFAULT_SECONDS
) -> AsyncIterator[Outcome]:
    """Yield the outcome of each check. seconds: for each that does not say how long it takes."""
    for check in checks:
        if reason := check.inapplicable(target):
            yield Outcome(check, Ending.SKIPPED, 0, reason)
        else:
            yield await _outcome(check, target.afresh(), check.seconds or seconds)


async def _outcome(check: Check, target: Target, seconds: float) -> Outcome:
    begun = time.monotonic()
    ending, reason = await _judged_by_answers(check, target, seconds)
    if check.level is Level.ROBUSTNESS and ending is Ending.PASSED and not await alive(target):
        ending, reason = Ending.FAILED, "the server does not answer the next request any more"
    told = target.exchanges[-SHOWN_EXCHANGES:] if ending in {Ending.FAILED, Ending.ERROR} else ()
    exchanges = tuple(line for exchange in told for line in exchange.lines())
    return Outcome(check, ending, time.monotonic() - begun, reason, exchanges)


async def _judged_by_answers(check: Check, target: Target, seconds: float) -> tuple[Ending, str]:
    """Run a check until no answer is lost: each run is about blobs and actions of its own."""
    for _ in range(ATTEMPTS):
        try:
            return await _judged(check, target, seconds)
        except AnswerLost:
            target.exchanges.clear()
    return Ending.ERROR, "the client's library lost the server's answer each time"


async def _judged(check: Check, target: Target, seconds: float) -> tuple[Ending, str]:
    try:
        async with asyncio.timeout(seconds):
            await check.body(target)
    except Exception as raised:  # noqa: BLE001  one check's fault must not end the others
        error = _first(raised)
        if isinstance(error, AnswerLost):
            raise error from None
        ending, reason = _ended_by(error, seconds)
        unavailable = isinstance(error, Refused) and error.code == StatusCode.UNAVAILABLE
        if unavailable and not await alive(target.afresh()):
            robust = check.level is Level.ROBUSTNESS
            return Ending.FAILED if robust else Ending.ERROR, "the server is gone"
        return ending, reason
    return Ending.PASSED, ""


def _ended_by(error: Exception, seconds: float) -> tuple[Ending, str]:
    match error:
        case NotApplicable():
            return Ending.SKIPPED, str(error)
        case Violation():
            return Ending.FAILED, str(error)
        case TimeoutError():
            return Ending.FAILED, f"did not answer within {seconds:g} s"
        case Refused():
            return Ending.FAILED, f"{error.code.name} was answered to what must be served"
        case _:
            return Ending.ERROR, f"{type(error).__name__}: {error}"


def _first(error: Exception) -> Exception:
    """Return the first of what a task group collected."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def alive(target: Target) -> bool:
    """Ask something simple."""
    request = reapi.GetCapabilitiesRequest(instance_name=target.instance)
    try:
        async with asyncio.timeout(ALIVE_SECONDS):
            await target.call(methods.GET_CAPABILITIES, request)
    except (Refused, TimeoutError):
        return False
    return True
