"""The first result of an action is the one that everybody gets."""

from __future__ import annotations

import grpc
import pytest

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import command, outputs_of, put_action, put_script, stderr_of
from tests.protocol.blobs import unique
from tests.protocol.peer import Peer, refused

RANDOM = "cat /proc/sys/kernel/random/uuid > out"
REPLACE = (("holdfast-pin", "replace"),)


def uploaded(peer: Peer, data: bytes, *, exit_code: int = 0) -> reapi.ActionResult:
    result = reapi.ActionResult(exit_code=exit_code)
    result.output_files.add(path="out", digest=peer.put_one(data))
    return result


def random_action(peer: Peer, *, do_not_cache: bool = False) -> reapi.Digest:
    """Upload an action that gives other bytes each time it is run."""
    return put_action(peer, command(RANDOM, outputs=["out"]), do_not_cache=do_not_cache)


def output(result: reapi.ActionResult) -> str:
    return result.output_files[0].digest.hash


def test_an_action_that_ran_is_a_hit(each: Peer) -> None:
    action = random_action(each)
    first = each.execute(action)
    assert not first.response.cached_result
    assert each.get_result(action) == first.result
    again = each.execute(action)
    assert again.response.cached_result
    assert again.result == first.result


def test_a_run_without_lookup_answers_its_own_result_and_the_pin_stays(each: Peer) -> None:
    # REAPI rule: skip_cache_lookup runs the action again. Ours: what was first stays pinned.
    action = random_action(each)
    first = each.execute(action).result
    fresh = each.execute(action, skip_cache_lookup=True)
    assert not fresh.response.cached_result
    assert output(fresh.result) != output(first)
    assert output(each.get_result(action)) == output(first)
    assert output(each.execute(action).result) == output(first)


def test_the_first_upload_wins_and_the_reply_says_so(each: Peer) -> None:
    action = put_script(each, "true")
    first = each.update_result(action, uploaded(each, unique()))
    second = each.update_result(action, uploaded(each, unique()))
    assert output(second) == output(first)
    assert output(each.get_result(action)) == output(first)


def test_the_same_upload_twice_is_no_conflict(each: Peer) -> None:
    action, result = put_script(each, "true"), uploaded(each, unique())
    assert output(each.update_result(action, result)) == output(result)
    assert output(each.update_result(action, result)) == output(result)


def test_an_upload_does_not_displace_what_was_executed(peer: Peer) -> None:
    action = random_action(peer)
    first = peer.execute(action).result
    assert output(peer.update_result(action, uploaded(peer, unique()))) == output(first)


def test_an_execution_is_a_hit_on_what_was_uploaded(peer: Peer) -> None:
    action = random_action(peer)
    first = peer.update_result(action, uploaded(peer, unique()))
    executed = peer.execute(action)
    assert executed.response.cached_result
    assert output(executed.result) == output(first)


def test_without_an_input_root_the_last_upload_wins(each: Peer) -> None:
    # Buck2 rule: its permission check and its dep files are no actions that ran; they change.
    of = reapi.Action(
        command_digest=each.put_one(command("true").SerializeToString(deterministic=True)),
        salt=unique(),
    )
    action = each.put_one(of.SerializeToString(deterministic=True))
    each.update_result(action, uploaded(each, unique()))
    second = uploaded(each, unique())
    assert output(each.update_result(action, second)) == output(second)
    assert output(each.get_result(action)) == output(second)


def test_failures_are_not_cached(each: Peer) -> None:
    # REAPI convention: only exit code 0 is a hit; clients take others for failed actions.
    action = put_script(each, "cat /proc/sys/kernel/random/uuid; exit 3")
    first = each.execute(action)
    assert first.result.exit_code == 3
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(action)
    second = each.execute(action)
    assert not second.response.cached_result
    assert second.result.exit_code == 3
    assert second.result.stdout_digest != first.result.stdout_digest


def test_an_uploaded_failure_is_accepted_and_never_a_hit(each: Peer) -> None:
    action = put_script(each, "true")
    answer = each.update_result(action, uploaded(each, unique(), exit_code=1))
    assert answer.exit_code == 1
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(action)
    success = each.update_result(action, uploaded(each, unique()))
    assert each.get_result(action) == success


def test_an_uploaded_failure_does_not_displace_a_success(each: Peer) -> None:
    action = put_script(each, "true")
    first = each.update_result(action, uploaded(each, unique()))
    each.update_result(action, uploaded(each, unique(), exit_code=1))
    assert output(each.get_result(action)) == output(first)


def test_what_is_not_to_be_cached_is_not(each: Peer) -> None:
    # REAPI rule: do_not_cache keeps the result out of the cache.
    action = random_action(each, do_not_cache=True)
    first = each.execute(action)
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(action)
    second = each.execute(action)
    assert not second.response.cached_result
    assert output(first.result) != output(second.result)


def test_replacing_a_pin_takes_the_right_to_do_so(peer: Peer) -> None:
    action = random_action(peer)
    first = peer.execute(action).result
    with refused(grpc.StatusCode.PERMISSION_DENIED, naming="allow_pin_replace"):
        peer.execute(action, skip_cache_lookup=True, metadata=REPLACE)
    with refused(grpc.StatusCode.PERMISSION_DENIED, naming="allow_pin_replace"):
        peer.update_result(action, uploaded(peer, unique()), metadata=REPLACE)
    assert output(peer.get_result(action)) == output(first)


def test_who_has_the_right_replaces_a_pin_by_running_again(peer: Peer) -> None:
    there = peer.at("replace")
    action = random_action(there)
    first = there.execute(action).result
    second = there.execute(action, skip_cache_lookup=True, metadata=REPLACE).result
    assert output(second) != output(first)
    assert output(there.get_result(action)) == output(second)


def test_who_has_the_right_replaces_a_pin_by_uploading(peer: Peer) -> None:
    there = peer.at("replace")
    action = random_action(there)
    there.execute(action)
    second = uploaded(there, unique())
    assert output(there.update_result(action, second, metadata=REPLACE)) == output(second)
    assert output(there.get_result(action)) == output(second)


@pytest.mark.parametrize("value", ["", "REPLACE", "yes", "replace-all"])
def test_another_word_in_the_header_is_refused_and_replaces_nothing(peer: Peer, value: str) -> None:
    there = peer.at("replace")
    action = random_action(there)
    first = there.execute(action).result
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="holdfast-pin"):
        there.execute(action, skip_cache_lookup=True, metadata=(("holdfast-pin", value),))
    assert output(there.get_result(action)) == output(first)


def test_a_strict_instance_fails_what_differs(peer: Peer) -> None:
    # Buck2 rule: errors of the infrastructure are run again locally; a failed action is not.
    there = peer.at("strict")
    action = random_action(there)
    first = there.execute(action).result
    response = there.execute(action, skip_cache_lookup=True).response
    assert response.status.code == 0
    assert response.result.exit_code == 1
    assert "out" in response.message
    assert b"out" in stderr_of(there, response.result)
    assert output(there.get_result(action)) == output(first)


def test_an_action_asks_to_be_held_strictly_by_a_platform_property(peer: Peer) -> None:
    of = command(RANDOM, outputs=["out"], platform={"holdfast-determinism": "strict"})
    action = put_action(peer, of)
    assert peer.execute(action).result.exit_code == 0
    assert peer.execute(action, skip_cache_lookup=True).result.exit_code == 1


def test_a_strict_action_that_is_deterministic_succeeds_every_time(peer: Peer) -> None:
    there = peer.at("strict")
    action = put_script(there, "echo same > out", "out")
    assert there.execute(action).result.exit_code == 0
    assert there.execute(action, skip_cache_lookup=True).result.exit_code == 0


def test_a_mode_that_there_is_not_is_refused(peer: Peer) -> None:
    of = command("true", platform={"holdfast-determinism": "perhaps"})
    with refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        naming="holdfast-determinism",
    ):
        peer.execute(put_action(peer, of))


@pytest.mark.parametrize("instance", ["observe", "off"])
def test_where_nothing_is_pinned_the_newest_result_is_served(peer: Peer, instance: str) -> None:
    there = peer.at(instance)
    action = random_action(there)
    first = there.execute(action).result
    second = there.execute(action, skip_cache_lookup=True).result
    assert output(second) != output(first)
    assert output(there.get_result(action)) == output(second)


def test_outputs_are_brought_into_canonical_form_where_they_are_pinned(peer: Peer) -> None:
    # The gzip header's time stamp is what differs between two runs of this action.
    script = "printf data > f; touch -d @$(date +%s) f; gzip -c f > out.gz"
    action = put_action(peer, command(script, outputs=["out.gz"]))
    first = peer.execute(action).result
    data = outputs_of(peer, first)["out.gz"]
    assert data[4:8] == bytes(4)
