from __future__ import annotations

import pytest

from action_cache.results import ActionKey
from cas.digest import Digest
from re_server.hits import MAX_BYTES, Hit, Hits
from tests.cas.disks import Clock

SECONDS = 10.0
KEY, OTHER = ActionKey("", Digest.of(b"1")), ActionKey("", Digest.of(b"2"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hits(clock: Clock) -> Hits:
    made = Hits(seconds=SECONDS, clock=clock)
    assert made.get(b"request") is None
    return made


def hit(answer: bytes = b"answer", key: ActionKey = KEY) -> Hit:
    return Hit(key, answer, ())


def test_an_answer_is_remembered_for_its_request_alone(hits: Hits) -> None:
    hits.add(b"request", hit(), hits.moment)
    assert hits.get(b"request") == hit()
    assert hits.get(b"request, inlined") is None


def test_an_answer_is_forgotten_after_its_time(hits: Hits, clock: Clock) -> None:
    hits.add(b"request", hit(), hits.moment)
    clock.now += SECONDS
    assert hits.get(b"request") == hit()
    clock.now += 0.1
    assert hits.get(b"request") is None


def test_all_is_forgotten_when_a_blob_goes(hits: Hits) -> None:
    hits.add(b"request", hit(), hits.moment)
    hits.forget_all(Digest.of(b"gone"))
    assert hits.get(b"request") is None


def test_the_answers_for_an_action_are_forgotten_when_its_entry_changes(hits: Hits) -> None:
    hits.add(b"request", hit(), hits.moment)
    hits.add(b"request, inlined", hit(b"longer"), hits.moment)
    hits.add(b"other", hit(key=OTHER), hits.moment)
    hits.forget(KEY)
    assert hits.get(b"request") is None
    assert hits.get(b"request, inlined") is None
    assert hits.get(b"other") == hit(key=OTHER)
    hits.forget(KEY)


def test_an_answer_is_not_remembered_if_a_blob_went_while_it_was_worked_out(hits: Hits) -> None:
    moment = hits.moment
    hits.forget_all()
    hits.add(b"request", hit(), moment)
    assert hits.get(b"request") is None


def test_an_answer_is_not_remembered_if_its_entry_changed_while_it_was_worked_out(
    hits: Hits,
) -> None:
    # Else a client that was told of a new result would be answered the old one for a while.
    moment = hits.moment
    hits.forget(KEY)
    hits.add(b"request", hit(b"old"), moment)
    assert hits.get(b"request") is None
    hits.add(b"request", hit(b"new"), hits.moment)
    assert hits.get(b"request") == hit(b"new")


def test_no_more_is_remembered_than_the_bound_and_one_answer(hits: Hits) -> None:
    large = bytes(MAX_BYTES // 4)
    for number in range(20):
        hits.add(b"%d" % number, hit(large, ActionKey("", Digest.of(b"%d" % number))), hits.moment)
    held = [number for number in range(20) if hits.get(b"%d" % number)]
    assert 19 in held
    assert len(held) <= 6
