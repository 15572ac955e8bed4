from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hypothesis import given, settings, strategies as st

from action_cache.mode import Mode
from determinism.ledger import cascade
from determinism.ledger.attributing import attribute
from determinism.ledger.book import Book
from determinism.ledger.explaining import explain
from determinism.ledger.names import links_of
from determinism.ledger.observing import consume, hit, observe
from determinism.ledger.outcomes import content_of
from determinism.ledger.totals import Kind
from determinism.policy import Verdict
from tests.determinism.ledger.seen import NOW, book, difference, file, key, seen

ACTIONS = 7
OUTPUTS = 2


@dataclass(frozen=True)
class Event:
    """action: a number. outputs: those in which a conflict differs."""

    kind: Literal["run", "conflict", "observed", "hit"]
    action: int
    outputs: frozenset[int] = frozenset()


@dataclass(frozen=True)
class History:
    """inputs: by action, what it consumes: pairs of an earlier action and one of its outputs."""

    inputs: list[frozenset[tuple[int, int]]]
    events: list[Event]


@st.composite
def histories(draw: st.DrawFn) -> History:
    outputs = st.integers(0, OUTPUTS - 1)
    inputs = [
        draw(st.frozensets(st.tuples(st.integers(0, number - 1), outputs), max_size=3))
        if number
        else frozenset()
        for number in range(ACTIONS)
    ]
    numbers = st.integers(0, ACTIONS - 1)
    event = st.one_of(
        st.builds(Event, st.just("run"), numbers),
        st.builds(Event, st.just("hit"), numbers),
        st.builds(
            Event, st.sampled_from(["conflict", "observed"]), numbers,
            st.frozensets(outputs, min_size=1),
        ),
    )  # fmt: skip
    first = [Event("run", number) for number in range(draw(st.integers(0, ACTIONS)))]
    events, known = [], set[int]()
    for each in first + draw(st.lists(event, max_size=30)):
        if (each.action in known) != (each.kind == "run"):
            events.append(each)
            known.add(each.action)
    return History(inputs, events)


def reached(history: History, before: int, origin: int, outputs: Iterable[int]) -> dict[int, int]:
    """Return the distance of each action that ran `before` an event, and that outputs went into."""
    order = [each.action for each in history.events[:before] if each.kind == "run"]
    distances: dict[int, int] = {}
    for action in order:
        near = [
            1 if maker == origin else distances[maker] + 1
            for maker, output in history.inputs[action]
            if maker in order[: order.index(action)]
            and (output in outputs if maker == origin else maker in distances)
        ]
        if near:
            distances[action] = min(near)
    return distances


def saved(history: History) -> dict[int, set[int]]:
    """Return whom each conflict saved, by the number of its event."""
    conflicts = [
        (number, each)
        for number, each in enumerate(history.events)
        if each.kind in {"conflict", "observed"}
    ]
    found: dict[int, set[int]] = {}
    for number, each in conflicts:
        later = [other for other, one in conflicts if one.action == each.action and other > number]
        end = min(later, default=len(history.events))
        hits = {one.action for one in history.events[number:end] if one.kind == "hit"}
        if each.kind == "conflict":
            found[number] = hits & reached(history, number, each.action, each.outputs).keys()
    return found


def replay(history: History, into: Book) -> None:
    for number, each in enumerate(history.events):
        at = NOW + number
        name = str(each.action)
        if each.kind == "hit":
            hit(into, key(name), at)
            continue
        contents = {
            f"out {output}": f"{name}.{output}" + (f"-{number}" if output in each.outputs else "")
            for output in range(OUTPUTS)
        }
        verdict = Verdict.FIRST if each.kind == "run" else Verdict.CONFLICT
        mode = Mode.OBSERVE if each.kind == "observed" else Mode.PIN
        observe(
            into,
            number,
            seen(name, contents, verdict, at=at, seconds=each.action + 1.0, mode=mode),
        )
        if each.kind == "run":
            inputs = [file(f"{maker}.{output}") for maker, output in history.inputs[each.action]]
            consume(into, key(name), [*inputs, file("a source")], at)
    into.counters.flush(into.connection)


@settings(max_examples=100, deadline=None)
@given(histories())
def test_what_was_saved_is_what_a_naive_count_finds(history: History) -> None:
    expected = saved(history)
    with book() as made:
        replay(history, made)
        found = made.connection.execute("SELECT id, saved_actions, saved_seconds FROM observation")
        for number, actions, seconds in found:
            consumers = expected.get(number, set())
            assert actions == len(consumers)
            assert seconds == sum(consumer + 1.0 for consumer in consumers)
        totals = made.counters.totals()
    assert totals.saved_actions <= sum(map(len, expected.values()))
    assert (totals.saved_actions > 0) == any(expected.values())


@settings(max_examples=60, deadline=None)
@given(histories())
def test_consumers_are_explained_by_their_distance(history: History) -> None:
    with book() as made:
        replay(history, made)
        for action in {each.action for each in history.events}:
            explained = explain(made.connection, key(str(action)))
            assert explained is not None
            differing = {
                output
                for each in history.events
                if each.action == action and each.kind == "conflict"
                for output in each.outputs
            } or set(range(OUTPUTS))
            expected = reached(history, len(history.events), action, differing)
            assert {each.key: each.distance for each in explained.consumers} == {
                key(str(consumer)): distance for consumer, distance in expected.items()
            }


def chain(made: Book, length: int) -> None:
    """Have each action consume what the one before it made."""
    for number in range(length):
        observe(made, number, seen(f"{number}", {"out": f"{number}"}))
        consume(made, key(f"{number}"), [file(f"{number - 1}")], NOW)


def test_a_chain_is_followed_to_a_bounded_length() -> None:
    with book() as made:
        chain(made, cascade.MAX_DISTANCE + 20)
        assert cascade.reach(made.connection, links_of([file("0")]), 1) == cascade.MAX_DISTANCE


def test_consumers_are_counted_to_a_bounded_number_the_nearest_first() -> None:
    with book() as made:
        observe(made, 0, seen("maker", {"out": "made"}))
        observe(made, 1, seen("near", {"out": "7"}))
        first, further = links_of([file("made")]), links_of([file("7")])
        consumers = [(action, *first) for action in range(2, 101)]
        consumers += [(action, *further) for action in range(101, cascade.MAX_CONSUMERS + 150)]
        made.connection.executemany("INSERT INTO consumed VALUES (?, ?)", consumers)
        count = cascade.reach(made.connection, links_of([file("made")]), 1)
        near = made.connection.execute("SELECT count(*) FROM reached WHERE distance = 1")
        assert count == cascade.MAX_CONSUMERS
        assert near.fetchone() == (99,)


def test_files_in_output_directories_have_consumers_too() -> None:
    tree = f"tree {file('the tree')}"
    before, after = frozenset({file("a"), file("b")}), frozenset({file("a"), file("c")})
    with book() as made:
        observe(made, 1, seen("maker", {"folder": tree}, references=before))
        for number, taken in enumerate(("a", "b"), 2):
            observe(made, number, seen(f"takes {taken}", {"out": taken * 2}))
            consume(made, key(f"takes {taken}"), [file(taken)], NOW)
        other = {"folder": f"tree {file('another')}"}
        observe(made, 4, seen("maker", other, Verdict.CONFLICT, references=after))
        hit(made, key("takes a"), NOW + 1)
        hit(made, key("takes b"), NOW + 1)
        explained = explain(made.connection, key("maker"))
    assert explained is not None
    assert [each.key for each in explained.consumers] == [key("takes b")]
    assert explained.summary.saved_actions == 1


def test_outputs_that_change_places_differ_and_empty_files_join_nobody() -> None:
    function = key("any").action.function
    first = content_of(seen("any", {"one": "1", "two": "2", "none": str(file(""))}))
    then = content_of(seen("any", {"one": "2", "two": "1", "none": "3"}))
    assert cascade.diverged(first, then, function) == links_of([file("1"), file("2")])


def test_a_pin_that_is_older_than_the_ledger_is_learned_from_the_attribution() -> None:
    with book() as made:
        observe(made, 1, seen("maker", {"out": "2"}, Verdict.CONFLICT))
        observe(made, 2, seen("before that", {"out": "1"}))  # so that the file is known
        observe(made, 3, seen("taker", {"out": "3"}))
        consume(made, key("taker"), [file("1")], NOW)
        attribute(made, 1, [difference()], latent=False)
        hit(made, key("taker"), NOW + 1)
        explained = explain(made.connection, key("maker"))
    assert explained is not None
    assert [each.saved for each in explained.consumers] == [1]


def test_one_hit_that_two_conflicts_would_have_prevented_is_counted_once_in_all() -> None:
    with book() as made:
        for number in (1, 2):
            observe(made, number, seen(f"maker {number}", {"out": f"{number}"}))
        observe(made, 3, seen("taker", {"out": "3"}, seconds=5.0))
        consume(made, key("taker"), [file("1"), file("2")], NOW)
        for number in (1, 2):
            conflict = seen(f"maker {number}", {"out": "other"}, Verdict.CONFLICT)
            observe(made, number + 3, conflict)
        hit(made, key("taker"), NOW + 1)
        made.counters.flush(made.connection)
        assert made.counters.totals().saved_actions == 1
        assert made.counters.totals().saved_seconds == 5.0
        assert Kind.SAVED_SECONDS in {each.kind for each in made.counters._values}
        for number in (1, 2):
            explained = explain(made.connection, key(f"maker {number}"))
            assert explained is not None
            assert explained.summary.saved_seconds == 5.0


def test_a_lost_or_replaced_pin_saves_nobody() -> None:
    with book() as made:
        observe(made, 1, seen("maker", {"out": "1"}))
        observe(made, 2, seen("taker", {"out": "3"}))
        consume(made, key("taker"), [file("1")], NOW)
        observe(made, 3, seen("maker", {"out": "2"}, Verdict.CONFLICT, at=NOW + 1))
        observe(made, 4, seen("maker", {"out": "4"}, Verdict.SUPERSEDED, at=NOW + 2))
        hit(made, key("taker"), NOW + 3)
        explained = explain(made.connection, key("maker"))
    assert explained is not None
    assert explained.summary.conflicts == 2
    assert explained.summary.saved_actions == 0
