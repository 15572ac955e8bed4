from __future__ import annotations

import time

import grpc
import pytest
from google.rpc import code_pb2

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import (
    command,
    input_root,
    outputs_of,
    put_action,
    put_script,
    stderr_of,
    stdout_of,
)
from tests.protocol.blobs import BLAKE3, SHA1, UNNAMED, digest_of, key, unique
from tests.protocol.peer import (
    CALL_SECONDS,
    Executed,
    Peer,
    missing_subjects,
    refused,
    status_of,
    unexecuted,
)

Stage = reapi.ExecutionStage


def subject(peer: Peer, digest: reapi.Digest) -> str:
    named = "blake3/" if peer.function == BLAKE3 else ""
    return f"blobs/{named}{digest.hash}/{digest.size_bytes}"


def test_an_action_is_run(each: Peer) -> None:
    of = command("cat in/a; cat in/a > out; echo oops >&2", outputs=["out"])
    action = put_action(each, of, inputs={"in/a": b"some input"})
    result = each.execute(action).result
    assert result.exit_code == 0
    assert outputs_of(each, result) == {"out": b"some input"}
    assert stdout_of(each, result) == b"some input"
    assert stderr_of(each, result) == b"oops\n"


def test_results_are_named_in_the_actions_function(each: Peer) -> None:
    # REAPI rule: one digest function for an action, its inputs and its outputs.
    executed = each.execute(put_script(each, "printf data > out; printf text", "out"))
    assert executed.result.output_files[0].digest == each.digest(b"data")
    assert each.has(executed.result.output_files[0].digest)
    assert {metadata.digest_function for metadata in executed.metadata} == {each.function}


@pytest.mark.parametrize("instance", ["blake3", "sha1"])
def test_an_instances_own_function_holds_without_being_named(peer: Peer, instance: str) -> None:
    # Buck2 rule: Execute names no digest function.
    own = {"blake3": BLAKE3, "sha1": SHA1}[instance]
    there = peer.at(instance).using(own)
    action = put_script(there, "printf data > out", "out")
    result = there.using(UNNAMED).execute(action).result
    assert result.output_files[0].digest == digest_of(b"data", own)


def test_an_empty_input_root_needs_no_upload(each: Peer) -> None:
    # REAPI rule: the empty Directory is an empty blob and always there.
    action = reapi.Action(
        command_digest=each.put_one(command("ls -A | wc -l").SerializeToString(deterministic=True)),
        input_root_digest=each.digest(b""),
        salt=unique(),
    )
    digest = each.put_one(action.SerializeToString(deterministic=True))
    assert stdout_of(each, each.execute(digest).result).strip() == b"0"


def test_execution_metadata_says_who_and_when(each: Peer) -> None:
    # REAPI rule: an ActionResult never serialises to nothing. Buck2 reads these times.
    result = each.execute(put_script(each, "true")).result
    metadata = result.execution_metadata
    assert metadata.worker
    times = [
        metadata.queued_timestamp,
        metadata.worker_start_timestamp,
        metadata.input_fetch_start_timestamp,
        metadata.input_fetch_completed_timestamp,
        metadata.execution_start_timestamp,
        metadata.execution_completed_timestamp,
        metadata.output_upload_start_timestamp,
        metadata.output_upload_completed_timestamp,
        metadata.worker_completed_timestamp,
    ]
    nanoseconds = [moment.ToNanoseconds() for moment in times]
    assert nanoseconds[0] > 0
    assert nanoseconds == sorted(nanoseconds)


def test_every_message_is_an_operation_in_a_stage_and_the_last_is_done(each: Peer) -> None:
    # REAPI rules: the stage is COMPLETED if and only if the operation is done; then the stream
    # ends; `error` is never set.
    executed = each.execute(put_script(each, "sleep 0.5"))
    done = [operation.done for operation in executed.operations]
    assert done == [False] * (len(done) - 1) + [True]
    assert len({operation.name for operation in executed.operations}) == 1
    for operation, metadata in zip(executed.operations, executed.metadata, strict=True):
        assert (metadata.stage == Stage.COMPLETED) == operation.done
        assert operation.WhichOneof("result") == ("response" if operation.done else None)
    assert Stage.EXECUTING in {metadata.stage for metadata in executed.metadata}


def test_stages_never_go_back(peer: Peer) -> None:
    stages = [metadata.stage for metadata in peer.execute(put_script(peer, "sleep 0.5")).metadata]
    assert stages == sorted(stages)
    assert Stage.UNKNOWN not in stages


def test_the_metadata_names_the_action(each: Peer) -> None:
    action = put_script(each, "true")
    assert {key(metadata.action_digest) for metadata in each.execute(action).metadata} == {
        key(action)
    }


def test_the_current_stage_is_repeated_while_an_action_is_silent(peer: Peer) -> None:
    # Buck2 rule: repeated stages are ignored, and keep connections through balancers open.
    executed = peer.execute(put_script(peer, "sleep 5"))
    stages = [metadata.stage for metadata in executed.metadata]
    assert stages.count(Stage.EXECUTING) >= 3


def test_a_hit_is_answered_by_an_operation_that_is_done(each: Peer) -> None:
    action = put_script(each, "true")
    each.execute(action)
    again = each.execute(action)
    assert again.response.cached_result
    assert again.operations[-1].done


def test_a_failure_is_a_result_and_no_error(each: Peer) -> None:
    # REAPI rule: an exit code other than 0 is in the result; the status is OK.
    executed = each.execute(put_script(each, "echo why >&2; echo partial > out; exit 42", "out"))
    assert executed.response.status.code == code_pb2.OK
    assert executed.result.exit_code == 42
    assert stderr_of(each, executed.result) == b"why\n"
    assert outputs_of(each, executed.result) == {"out": b"partial\n"}


def test_a_program_that_is_not_there_fails_as_an_action(peer: Peer) -> None:
    of = command("")
    of.arguments[:] = ["/no/such/program"]
    response = peer.execute(put_action(peer, of)).response
    assert response.result.exit_code != 0 or response.status.code != code_pb2.OK
    assert (
        "/no/such/program"
        in response.message + response.status.message + stderr_of(peer, response.result).decode()
    )


def test_a_signal_is_an_exit_code_of_128_and_more(peer: Peer) -> None:
    assert peer.execute(put_script(peer, "kill -9 $$")).result.exit_code in {137, -9}


# What a request or an action lacks.


def test_a_missing_action_is_a_failed_precondition_that_names_it(each: Peer) -> None:
    # REAPI rules: errors while the Operation is made are the call's status; a missing blob has a
    # violation of type MISSING with the subject blobs/[function/]hash/size.
    absent = each.digest(unique())
    with refused(grpc.StatusCode.FAILED_PRECONDITION, naming=absent.hash) as caught:
        each.execute(absent)
    assert missing_subjects(status_of(caught.value)) == {subject(each, absent)}


@pytest.mark.parametrize("command_is_missing", [False, True])
def test_everything_that_is_missing_is_named_at_once(
    each: Peer,
    command_is_missing: bool,  # noqa: FBT001
) -> None:
    # REAPI rule: each missing blob has a violation of its own: commands, files and directories.
    absent = [each.digest(unique()) for _ in range(11)]
    of = unique() if command_is_missing else command("true").SerializeToString(deterministic=True)
    if command_is_missing:
        absent.append(each.digest(of))
    else:
        each.put_one(of)
    below = reapi.Directory()
    below.files.add(name="f", digest=absent[0])
    root = reapi.Directory()
    for number, digest in enumerate(absent[1:8]):
        root.files.add(name=f"f{number}", digest=digest)
    for number, digest in enumerate(absent[8:11]):
        root.directories.add(name=f"d{number}", digest=digest)
    encoded = below.SerializeToString(deterministic=True)
    root.directories.add(name="present", digest=each.put_one(encoded))
    action = reapi.Action(
        command_digest=each.digest(of),
        input_root_digest=each.put_one(root.SerializeToString(deterministic=True)),
    )
    digest = each.put_one(action.SerializeToString(deterministic=True))
    status = unexecuted(each, digest)
    assert status.code == code_pb2.FAILED_PRECONDITION
    assert missing_subjects(status) == {subject(each, one) for one in absent}


def test_very_many_missing_inputs_are_all_named(peer: Peer) -> None:
    absent = [peer.digest(unique()) for _ in range(1000)]
    root = reapi.Directory()
    for number, digest in enumerate(absent):
        root.files.add(name=f"{number:04}", digest=digest)
    action = reapi.Action(
        command_digest=peer.put_one(command("true").SerializeToString(deterministic=True)),
        input_root_digest=peer.put_one(root.SerializeToString(deterministic=True)),
    )
    status = unexecuted(peer, peer.put_one(action.SerializeToString(deterministic=True)))
    assert status.code == code_pb2.FAILED_PRECONDITION
    assert missing_subjects(status) == {subject(peer, digest) for digest in absent}


def test_a_missing_input_root_is_named(each: Peer) -> None:
    absent = each.digest(unique())
    action = reapi.Action(
        command_digest=each.put_one(command("true").SerializeToString(deterministic=True)),
        input_root_digest=absent,
    )
    digest = each.put_one(action.SerializeToString(deterministic=True))
    status = unexecuted(each, digest)
    assert status.code == code_pb2.FAILED_PRECONDITION
    assert missing_subjects(status) == {subject(each, absent)}


def test_what_was_missing_can_be_uploaded_and_the_action_runs(peer: Peer) -> None:
    data = unique()
    root = reapi.Directory()
    root.files.add(name="f", digest=peer.digest(data))
    action = reapi.Action(
        command_digest=peer.put_one(command("cat f").SerializeToString(deterministic=True)),
        input_root_digest=peer.put_one(root.SerializeToString(deterministic=True)),
    )
    digest = peer.put_one(action.SerializeToString(deterministic=True))
    assert unexecuted(peer, digest).code == code_pb2.FAILED_PRECONDITION
    peer.put_one(data)
    assert stdout_of(peer, peer.execute(digest).result) == data


# Time.


def test_a_timeout_keeps_what_was_said_before(each: Peer) -> None:
    # REAPI rule: a timeout is DEADLINE_EXCEEDED in the response's status; output may be there.
    of = command("echo before; sleep 50; echo after")
    response = each.execute(put_action(each, of, timeout_seconds=1)).response
    assert response.status.code == code_pb2.DEADLINE_EXCEEDED
    assert stdout_of(each, response.result) == b"before\n"


def test_a_timeout_is_not_cached(peer: Peer) -> None:
    # REAPI rule: where the status is not OK, the result is not cached.
    action = put_action(peer, command("sleep 50"), timeout_seconds=0.5)
    assert peer.execute(action).response.status.code == code_pb2.DEADLINE_EXCEEDED
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(action)


def test_a_timeout_ends_the_children_too(peer: Peer) -> None:
    of = command("(sleep 50 | cat) & sleep 50 & wait")
    begun = time.monotonic()
    response = peer.execute(put_action(peer, of, timeout_seconds=1)).response
    assert response.status.code == code_pb2.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < CALL_SECONDS


@pytest.mark.parametrize("seconds", [101, 1 << 33])
def test_a_longer_timeout_than_the_servers_is_refused_and_not_cut(
    peer: Peer, seconds: float
) -> None:
    # REAPI rule: a timeout over the server's maximum is INVALID_ARGUMENT.
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="timeout"):
        peer.execute(put_action(peer, command("true"), timeout_seconds=seconds))


@pytest.mark.parametrize("seconds", [-1, -0.5])
def test_a_negative_timeout_is_refused(peer: Peer, seconds: float) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="timeout"):
        peer.execute(put_action(peer, command("true"), timeout_seconds=seconds))


# Platforms.


def test_the_platform_of_the_command_counts_where_the_action_has_none(peer: Peer) -> None:
    # Buck2 rule: the platform is in the deprecated field of the Command alone.
    of = command("true", platform={"OSFamily": "linux"})
    assert peer.execute(put_action(peer, of)).result.exit_code == 0
    of = command("true", platform={"OSFamily": "plan9"})
    assert_not_run(peer, put_action(peer, of), "OSFamily")


def test_the_platform_of_the_action_comes_before_the_commands(peer: Peer) -> None:
    # REAPI rule: Action.platform is preferred.
    of = command("true", platform={"OSFamily": "plan9"})
    action = put_action(peer, of, platform={"OSFamily": "linux"})
    assert peer.execute(action).result.exit_code == 0


def assert_not_run(peer: Peer, action: reapi.Digest, property: str) -> None:
    """Expect FAILED_PRECONDITION that names `property`."""
    status = unexecuted(peer, action)
    assert status.code == code_pb2.FAILED_PRECONDITION
    assert property in status.message


@pytest.mark.parametrize("properties", [{"gpu": "h100"}, {"OSFamily": "linux", "arch": "pdp11"}])
def test_a_property_that_no_worker_has_is_refused_and_not_waited_for(
    peer: Peer, properties: dict[str, str]
) -> None:
    # REAPI rule: properties that the server does not know are refused.
    assert_not_run(peer, put_action(peer, command("true", platform=properties)), [*properties][-1])


def test_properties_in_any_order_are_accepted(peer: Peer) -> None:
    # Buck2 rule: persistentWorkerKey stands last, where sorting would put it elsewhere.
    of = command("true")
    of.platform.properties.add(name="holdfast-determinism", value="pin")
    of.platform.properties.add(name="OSFamily", value="linux")
    assert peer.execute(put_action(peer, of)).result.exit_code == 0


def test_the_environment_is_the_commands_and_a_path(peer: Peer) -> None:
    # REAPI rule: an action sees the variables of its Command. Buck2 sets no PATH: the worker does.
    of = command("env", env={"A": "1", "B": "two words"})
    lines = stdout_of(peer, peer.execute(put_action(peer, of)).result).decode().splitlines()
    env = dict(line.split("=", 1) for line in lines)
    assert (env["A"], env["B"]) == ("1", "two words")
    assert "/usr/bin" in env["PATH"].split(":")
    of = command("/usr/bin/env", env={"PATH": "/mine"})
    assert b"PATH=/mine\n" in stdout_of(peer, peer.execute(put_action(peer, of)).result)


def test_an_action_cannot_change_the_blobs_of_its_inputs(peer: Peer) -> None:
    data = unique()
    of = command("chmod +w f 2>/dev/null; echo changed >> f; echo changed > g; cat f > out; true",
                 outputs=["out"])  # fmt: skip
    peer.execute(put_action(peer, of, inputs={"f": data, "g": data}))
    assert peer.read(peer.digest(data)) == data
    result = peer.execute(put_action(peer, command("cat f"), inputs={"f": data})).result
    assert stdout_of(peer, result) == data


def test_a_priority_of_any_size_is_accepted(peer: Peer) -> None:
    # Buck2 rule: execution_policy.priority is always set.
    for priority in (0, 1, -1, (1 << 31) - 1, -(1 << 31)):
        request = peer.execute_request(put_script(peer, "true"))
        request.execution_policy.priority = priority
        request.results_cache_policy.priority = priority
        executed = Executed(list(peer.execution.Execute(request, timeout=CALL_SECONDS)))
        assert executed.result.exit_code == 0


def test_inputs_are_there_as_they_were_named(peer: Peer) -> None:
    from_root = input_root(peer, {"a/b/c": b"1", "empty": None, "é ü": b"2"})
    action = reapi.Action(
        command_digest=peer.put_one(
            command("find . | LC_ALL=C sort").SerializeToString(deterministic=True)
        ),
        input_root_digest=from_root,
        salt=unique(),
    )
    digest = peer.put_one(action.SerializeToString(deterministic=True))
    listing = stdout_of(peer, peer.execute(digest).result).decode().split("\n")
    assert listing == [".", "./a", "./a/b", "./a/b/c", "./empty", "./é ü", ""]
