from __future__ import annotations

from collections.abc import Callable

import pytest

from action_cache.mode import Mode
from action_cache.results import Kept, Origin, Proposal, Slot
from cas.wire import digest_to
from determinism.policy import Verdict
from determinism.proposals import (
    MOST,
    Proposed,
    Standing,
    ambiguity,
    conflicting,
    propose,
)
from protos import remote_execution_pb2 as reapi
from tests.determinism.results import EMPTY, FIRST_SEEN, FUNCTION, kept, output_of, pinned


def proposal(writer: str, result: Kept, *, after: float = 0, comparable: bool = True) -> Proposal:
    return Proposal(writer, result, FIRST_SEEN + after, comparable, Origin(program=writer))


def proposed(
    slot: Slot, new: Proposal, *, confirmations: int = 2, mode: Mode = Mode.PIN
) -> Proposed:
    return propose(slot, new, confirmations=confirmations, mode=mode, function=FUNCTION)


def waiting(*proposals: Proposal) -> Slot:
    return Slot(None, None, intact=False, proposals=proposals)


ANN = proposal("ann", kept(b"1", worker="ann's"))
BEN = proposal("ben", kept(b"1", worker="ben's"), after=1)
EVE = proposal("eve", kept(b"2"), after=2)


def test_what_one_proposes_waits_and_is_no_entry() -> None:
    decided = proposed(EMPTY, ANN)
    assert decided == Proposed(Standing.WAITING, waiting(ANN), ANN.kept)


def test_the_first_of_two_that_are_the_same_is_pinned_as_it_was_uploaded() -> None:
    decided = proposed(waiting(ANN), BEN)
    assert decided.standing is Standing.PROMOTED
    assert decided.answer == decided.slot.entry == ANN.kept
    assert decided.slot.proposals == ()
    assert decided.slot.pin is not None
    assert decided.slot.pin.kept == ANN.kept
    assert decided.slot.pin.origin == ANN.origin
    assert decided.promoted is not None
    assert decided.promoted[0] == ANN
    assert decided.promoted[1].verdict is Verdict.FIRST
    assert decided.ruled == (ANN, BEN)


def test_one_that_uploads_twice_is_one() -> None:
    again = proposal("ann", kept(b"1"), after=1)
    other = proposal("ann", kept(b"2"), after=2)
    assert proposed(waiting(ANN), again).slot == waiting(again)
    assert proposed(waiting(ANN), other).slot == waiting(other)


def test_proposals_that_differ_stay_apart_and_none_wins() -> None:
    decided = proposed(waiting(ANN), EVE)
    assert (decided.standing, decided.answer) == (Standing.CONFLICTING, EVE.kept)
    assert decided.slot == waiting(ANN, EVE)
    assert conflicting(decided.slot.proposals, FUNCTION)
    assert not conflicting((ANN, BEN), FUNCTION)


def test_what_enough_others_propose_wins_over_one_that_differs() -> None:
    decided = proposed(waiting(EVE, ANN), BEN)
    assert decided.slot.entry == ANN.kept
    assert decided.ruled == (EVE, ANN, BEN)


@pytest.mark.parametrize(
    ("confirmations", "promoted"), [(2, True), (3, True), (4, False), (0, False)]
)
def test_it_takes_as_many_writers_as_are_configured(confirmations: int, *, promoted: bool) -> None:
    third = proposal("cem", kept(b"1"), after=3)
    decided = proposed(waiting(ANN, BEN), third, confirmations=confirmations)
    assert (decided.standing is Standing.PROMOTED) == promoted


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.OBSERVE, Mode.PIN])
@pytest.mark.parametrize("output", [b"1", b"2"])
def test_what_everyone_is_answered_stays_as_it_is(mode: Mode, output: bytes) -> None:
    slot = pinned(kept(b"1"))
    new = proposal("eve", kept(output, worker="eve's"))
    decided = proposed(slot, new, mode=mode)
    assert decided == Proposed(Standing.NEEDLESS, slot, kept(b"1"), ruled=(new,))


@pytest.mark.parametrize("output", [b"1", b"2"])
def test_a_pin_whose_blobs_are_there_again_is_answered_again_and_counts_nothing(
    output: bytes,
) -> None:
    pin = pinned(kept(b"1"))
    lost = Slot(None, pin.pin, intact=True, proposals=(ANN,))
    new = proposal("eve", kept(output))
    assert proposed(lost, new) == Proposed(Standing.NEEDLESS, pin, kept(b"1"), ruled=(ANN, new))


def test_a_lost_pin_is_never_changed_by_proposals_however_many() -> None:
    lost = pinned(kept(b"9"), intact=False)
    first = proposed(lost, ANN)
    assert first.slot == Slot(None, lost.pin, intact=False, proposals=(ANN,))
    second = proposed(first.slot, BEN)
    assert (second.standing, second.answer) == (Standing.WAITING, BEN.kept)
    assert second.slot.pin == lost.pin
    assert second.slot.entry is None


def test_what_may_differ_is_its_writers_own_for_ever() -> None:
    own = proposal("ann", kept(b"1"), comparable=False)
    same = proposal("ben", kept(b"1"), comparable=False)
    assert proposed(waiting(own), same).slot == waiting(own, same)
    assert proposed(waiting(own), BEN).standing is Standing.CONFLICTING
    entry = Slot(kept(b"3"), None, intact=False)
    decided = proposed(entry, own)
    assert decided.slot == Slot(kept(b"3"), None, intact=False, proposals=(own,))


def test_an_action_has_so_many_proposals_and_no_more() -> None:
    slot = EMPTY
    for number in range(MOST + 3):
        new = proposal(f"writer {number}", kept(b"%d" % number), after=number)
        slot = proposed(slot, new).slot
    assert [each.writer for each in slot.proposals] == [
        f"writer {number}" for number in range(3, MOST + 3)
    ]


def changed(change: Callable[[reapi.ActionResult], object]) -> Kept:
    """Return the result of ANN, with a change."""
    result = kept(b"1", stdout=b"said").result
    change(result)
    return Kept(result.SerializeToString(deterministic=True), ANN.kept.references)


def _add_file(result: reapi.ActionResult) -> None:
    result.output_files.add(path="more")


def _set_mode(result: reapi.ActionResult) -> None:
    result.output_files[0].node_properties.unix_mode.value = 0o4777


def _make_executable(result: reapi.ActionResult) -> None:
    result.output_files[0].is_executable = True


def _say_otherwise(result: reapi.ActionResult) -> None:
    result.stdout_digest.CopyFrom(digest_to(output_of(b"otherwise")))


def _say_inline(result: reapi.ActionResult) -> None:
    result.ClearField("stdout_digest")
    result.stdout_raw = b"said"


def _add_contents(result: reapi.ActionResult) -> None:
    result.output_files[0].contents = b"1"


def _set_worker(result: reapi.ActionResult) -> None:
    result.execution_metadata.worker = "another"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (_add_file, False),
        (_set_mode, False),
        (_make_executable, False),
        (_say_otherwise, False),
        (_say_inline, True),
        (_add_contents, True),
        (_set_worker, True),
    ],
)
def test_the_same_is_what_clients_cannot_tell_apart(
    change: Callable[[reapi.ActionResult], object], *, same: bool
) -> None:
    first = proposal("ann", changed(lambda result: None))
    decided = proposed(waiting(first), proposal("eve", changed(change)))
    assert (decided.standing is Standing.PROMOTED) == same
    assert conflicting((first, proposal("eve", changed(change))), FUNCTION) == (not same)


def _twice(result: reapi.ActionResult) -> None:
    result.output_files.insert(0, reapi.OutputFile(path="out", digest=digest_to(output_of(b"2"))))


def _also_a_link(result: reapi.ActionResult) -> None:
    result.output_symlinks.add(path="out", target="elsewhere")


def _two_targets(result: reapi.ActionResult) -> None:
    result.output_symlinks.add(path="link", target="a")
    result.output_file_symlinks.add(path="link", target="b")


def _also_a_directory(result: reapi.ActionResult) -> None:
    result.output_directories.add(path="out")


def _other_contents(result: reapi.ActionResult) -> None:
    result.output_files[0].contents = b"2"


def _other_words(result: reapi.ActionResult) -> None:
    result.stdout_raw = b"other words"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_twice, "'out' stands there twice"),
        (_also_a_link, "'out' stands there twice"),
        (_also_a_directory, "'out' stands there twice"),
        (_two_targets, "'link' links to 'a' and 'b'"),
        (_other_contents, "'out': contents are not"),
        (_other_words, "stdout_raw is not"),
    ],
)
def test_a_result_that_can_be_read_in_two_ways_is_told(
    change: Callable[[reapi.ActionResult], object], fault: str
) -> None:
    assert fault in ambiguity(changed(change).result, FUNCTION)


def test_what_clients_write_for_old_readers_too_is_not_ambiguous() -> None:
    def everything(result: reapi.ActionResult) -> None:
        result.stdout_raw = b"said"
        result.output_files[0].contents = b"1"
        result.output_symlinks.add(path="link", target="a")
        result.output_file_symlinks.add(path="link", target="a")
        result.output_directories.add(path="folder")

    assert ambiguity(changed(everything).result, FUNCTION) == ""
