"""Bounds hold whatever comes, and what has gone is not counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from access.admission import Admission, Cost, ServerLimits
from access.identity import EVERYBODY, CallerLimits, Identity
from access.pace import LeastPace, Pace
from access.refusal import TooMuch
from re_server.refusals import LOGGED, WINDOW_SECONDS, Rate

SERVER = ServerLimits(calls=10, bytes_in_flight=100)
CALLERS = [
    Identity("alice", {}, CallerLimits(3, 40, 2, 2)),
    Identity("bob", {}, CallerLimits(8, 90, 2, 2)),
    EVERYBODY,
]
SIZES = st.integers(0, 60)


@dataclass
class Call:
    caller: Identity
    size: int
    more: int = field(default=0)


class Calls(RuleBasedStateMachine):
    """Calls that come, grow and go, against a list of them."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(SERVER)
        self.calls: list[Call] = []

    def of(self, caller: Identity) -> list[Call]:
        return [call for call in self.calls if call.caller is caller]

    @rule(caller=st.sampled_from(CALLERS), cost=st.sampled_from(Cost), size=SIZES)
    def come(self, caller: Identity, cost: Cost, size: int) -> None:
        before = (self.admission.calls, self.admission.bytes)
        fits = len(self.calls) < SERVER.calls * cost.value and (
            not before[1] or before[1] + size <= SERVER.bytes_in_flight * cost.value
        )
        if caller.limits is not None:
            own = self.of(caller)
            held = sum(call.size + call.more for call in own)
            fits = fits and len(own) < caller.limits.calls
            fits = fits and (not held or held + size <= caller.limits.bytes_in_flight)
        try:
            self.admission.enter(caller, cost, size)
        except TooMuch:
            assert not fits
            assert (self.admission.calls, self.admission.bytes) == before
        else:
            assert fits
            self.calls.append(Call(caller, size))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), size=SIZES)
    def grow(self, data: st.DataObject, size: int) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.admission.add(call.caller, size - call.more)
        call.more = size

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.admission.leave(call.caller, call.size + call.more)
        self.calls.remove(call)

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        assert self.admission.calls == len(self.calls)
        assert self.admission.bytes == sum(call.size + call.more for call in self.calls)
        assert self.admission.is_idle == (not self.calls)


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def fill(admission: Admission, cost: Cost) -> None:
    for _ in count():
        admission.enter(EVERYBODY, cost, 0)


def test_cheap_calls_are_let_in_longest() -> None:
    admission = Admission(SERVER)
    let_in = []
    for cost in (Cost.HEAVY, Cost.ORDINARY, Cost.CHEAP):
        before = admission.calls
        with pytest.raises(TooMuch, match="calls are under way"):
            fill(admission, cost)
        let_in.append(admission.calls - before)
    assert let_in == [8, 1, 1]


def test_a_call_that_is_alone_is_let_in_whatever_its_size() -> None:
    Admission(SERVER).enter(EVERYBODY, Cost.HEAVY, 10 * SERVER.bytes_in_flight)


def test_what_outlives_its_call_is_counted_by_caller() -> None:
    admission = Admission(SERVER)
    alice, bob, _ = CALLERS
    admission.hold(alice, "executions", 1)
    admission.hold(bob, "executions", 1)
    with pytest.raises(TooMuch) as caught:
        admission.hold(alice, "executions", 1)
    assert caught.value.reason == "caller_executions"
    admission.let_go(alice, "executions")
    admission.hold(alice, "executions", 1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30), st.integers(0, 3)), max_size=50),
    st.integers(1, 5),
)
def test_only_waiting_for_too_few_bytes_makes_a_stream_too_slow(
    steps: list[tuple[float, float, int]], least: int
) -> None:
    pace = Pace(LeastPace(seconds=60, bytes=least))
    now = waited = 0.0
    came = 0
    for client_seconds, server_seconds, size in steps:
        pace.ask(now)
        now += client_seconds
        waited += client_seconds
        assert pace.too_slow(now) == (pace.waited(now) >= 60)
        assert pace.waited(now) == pytest.approx(waited)
        pace.came(now, size)
        came += size
        if came >= least:
            waited, came = 0.0, 0
        now += server_seconds
        assert not pace.too_slow(now), "the server's own time does not count"


def test_a_drip_is_too_slow_and_a_stream_that_flows_is_not() -> None:
    for each, slow in ((1, True), (100, False)):
        pace = Pace(LeastPace(seconds=60, bytes=1000))
        for second in range(100):
            pace.ask(second)
            if pace.too_slow(second + 1):
                assert slow
                break
            pace.came(second + 1, each)
        else:
            assert not slow


@settings(deadline=None)
@given(st.lists(st.floats(0, 3), max_size=200))
def test_refusals_are_logged_at_a_bounded_rate_and_none_is_forgotten(pauses: list[float]) -> None:
    rate, now, passed, told = Rate(), 0.0, [], 0
    for pause in pauses:
        now += pause
        held_back = rate.passes(now)
        if held_back is not None:
            passed.append(now)
            told += 1 + held_back
    for begun in passed:
        in_window = [each for each in passed if begun <= each < begun + WINDOW_SECONDS]
        assert len(in_window) <= 2 * LOGGED
    assert told <= len(pauses)
    if pauses:
        assert rate.passes(now + WINDOW_SECONDS) == len(pauses) - told
