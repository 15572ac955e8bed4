from __future__ import annotations

from collections.abc import Sequence

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import command, input_root, put_action
from tests.protocol.blobs import BLAKE3, SHA1, UNNAMED, digest_of, key, unique
from tests.protocol.peer import CALL_SECONDS, Peer, missing_subjects, refused, status_of
from tests.protocol.results import a_result


def an_action(peer: Peer) -> reapi.Digest:
    return put_action(peer, command("true"))


def subject(peer: Peer, digest: reapi.Digest) -> str:
    """The name of a missing blob: the function stands in it for BLAKE3 alone."""
    named = "blake3/" if peer.function == BLAKE3 else ""
    return f"blobs/{named}{digest.hash}/{digest.size_bytes}"


def encoded(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def test_a_result_is_returned_as_it_was_stored(each: Peer) -> None:
    # REAPI rule: the server may change the result, and the reply says what it stored.
    action, result = an_action(each), a_result(each)
    stored = each.update_result(action, result)
    assert each.get_result(action) == stored
    stored.ClearField("execution_metadata")
    assert stored == result


def test_execution_metadata_is_always_there(each: Peer) -> None:
    # Buck2 rule: a result without execution_metadata is an error in an update's reply and a silent
    # miss in a lookup's.
    action = an_action(each)
    assert each.update_result(action, a_result(each)).HasField("execution_metadata")
    assert each.get_result(action).HasField("execution_metadata")


def test_the_emptiest_result_has_bytes(each: Peer) -> None:
    # REAPI rule: an ActionResult never serialises to nothing.
    action = an_action(each)
    assert each.update_result(action, reapi.ActionResult()).ByteSize() > 0
    assert each.get_result(action).ByteSize() > 0


def test_auxiliary_metadata_comes_back_byte_for_byte(each: Peer) -> None:
    action, result = an_action(each), a_result(each)
    result.execution_metadata.worker = "somebody's own machine"
    result.execution_metadata.queued_timestamp.FromSeconds(0)
    result.execution_metadata.virtual_execution_duration.FromMilliseconds(1500)
    notes = [
        AnyMessage(type_url="remote_dep_file", value=unique(1000)),
        AnyMessage(value=b"\0\xff"),
    ]
    result.execution_metadata.auxiliary_metadata.extend(notes)
    assert list(each.update_result(action, result).execution_metadata.auxiliary_metadata) == notes
    answer = each.get_result(action).execution_metadata
    assert list(answer.auxiliary_metadata) == notes
    assert answer.worker == "somebody's own machine"
    assert answer.virtual_execution_duration.ToMilliseconds() == 1500


def test_an_unknown_action_is_not_found(each: Peer) -> None:
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(each.digest(unique()))


def test_an_action_that_is_there_and_never_ran_is_not_found(each: Peer) -> None:
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(an_action(each))


def test_instances_and_functions_have_results_of_their_own(peer: Peer) -> None:
    # REAPI rule: two functions of one length are two key spaces; so are two instances.
    action = an_action(peer)
    peer.update_result(action, a_result(peer))
    for other in (peer.at("a/b"), peer.using(BLAKE3)):
        with refused(grpc.StatusCode.NOT_FOUND):
            other.get_result(action)
    assert peer.using(UNNAMED).get_result(action) == peer.get_result(action)


def test_the_size_is_part_of_the_actions_name(each: Peer) -> None:
    # REAPI rule: a right hash with a wrong size is another action.
    action = an_action(each)
    each.update_result(action, a_result(each))
    other = reapi.Digest(hash=action.hash, size_bytes=action.size_bytes + 1)
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(other)


@pytest.mark.parametrize("hash", ["", "x", "../x", "0" * 63, "A" * 64])
def test_a_malformed_action_digest_is_refused(peer: Peer, hash: str) -> None:
    malformed = reapi.Digest(hash=hash, size_bytes=10)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest"):
        peer.get_result(malformed)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest"):
        peer.update_result(malformed, reapi.ActionResult())


def test_requests_without_their_message_fields_are_refused(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="action_digest"):
        peer.action_cache.GetActionResult(reapi.GetActionResultRequest(), timeout=CALL_SECONDS)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="action_digest"):
        peer.action_cache.UpdateActionResult(
            reapi.UpdateActionResultRequest(action_result=a_result(peer)), timeout=CALL_SECONDS
        )
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="action_result"):
        peer.action_cache.UpdateActionResult(
            reapi.UpdateActionResultRequest(action_digest=an_action(peer)), timeout=CALL_SECONDS
        )


def test_an_update_needs_the_action(each: Peer) -> None:
    # REAPI rule: the Action is uploaded first; otherwise FAILED_PRECONDITION that names it.
    absent = each.digest(unique())
    with refused(grpc.StatusCode.FAILED_PRECONDITION, naming=absent.hash) as caught:
        each.update_result(absent, reapi.ActionResult())
    assert missing_subjects(status_of(caught.value)) == {subject(each, absent)}
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(absent)


def test_an_update_needs_the_command(each: Peer) -> None:
    # REAPI rule: the Command is uploaded first; otherwise FAILED_PRECONDITION that names it.
    absent = each.digest(unique())
    action = each.put_one(
        encoded(reapi.Action(command_digest=absent, input_root_digest=input_root(each, {})))
    )
    with refused(grpc.StatusCode.FAILED_PRECONDITION, naming=absent.hash) as caught:
        each.update_result(action, reapi.ActionResult())
    assert missing_subjects(status_of(caught.value)) == {subject(each, absent)}


def test_an_update_does_not_need_the_inputs(each: Peer) -> None:
    # Buck2 rule: with a local result it uploads Action and Command, and not the input tree.
    action = reapi.Action(
        command_digest=each.put_one(encoded(command("true"))),
        input_root_digest=each.digest(unique()),
        salt=unique(),
    )
    digest = each.put_one(encoded(action))
    stored = each.update_result(digest, a_result(each))
    assert each.get_result(digest) == stored


MISSING_PARTS = (
    "output file", "tree", "file of a tree", "root directory", "directory below the root",
    "file below the root", "stdout", "stderr",
)  # fmt: skip


def broken_result(peer: Peer, part: str) -> tuple[reapi.ActionResult, reapi.Digest]:
    """Return a result of which `part` alone is missing, and that part's digest."""
    absent = peer.digest(unique())
    result = a_result(peer)
    if part == "output file":
        result.output_files[0].digest.CopyFrom(absent)
    elif part == "stdout":
        result.stdout_digest.CopyFrom(absent)
    elif part == "stderr":
        result.stderr_digest.CopyFrom(absent)
    elif part == "tree":
        result.output_directories[0].ClearField("root_directory_digest")
        result.output_directories[0].tree_digest.CopyFrom(absent)
    elif part == "file of a tree":
        tree = reapi.Tree()
        tree.root.files.add(name="f", digest=absent)
        result.output_directories[0].ClearField("root_directory_digest")
        result.output_directories[0].tree_digest.CopyFrom(peer.put_one(encoded(tree)))
    else:
        root = absent if part == "root directory" else root_without(peer, part, absent)
        result.output_directories[0].ClearField("tree_digest")
        result.output_directories[0].root_directory_digest.CopyFrom(root)
    return result, absent


def root_without(peer: Peer, part: str, absent: reapi.Digest) -> reapi.Digest:
    """Upload a root Directory below which `absent` is missing."""
    directory = reapi.Directory()
    if part == "directory below the root":
        directory.directories.add(name="d", digest=absent)
        return peer.put_one(encoded(directory))
    directory.files.add(name="f", digest=absent)
    root = reapi.Directory()
    root.directories.add(name="d", digest=peer.put_one(encoded(directory)))
    return peer.put_one(encoded(root))


@pytest.mark.parametrize("part", MISSING_PARTS)
def test_an_update_that_refers_to_what_is_not_there_is_refused(each: Peer, part: str) -> None:
    # REAPI rule: a hit's blobs are all there: files, Trees and their files, root directories and
    # what is below them, stdout and stderr. So nothing else is let in.
    action = an_action(each)
    result, absent = broken_result(each, part)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, naming=absent.hash) as caught:
        each.update_result(action, result)
    assert missing_subjects(status_of(caught.value)) == {subject(each, absent)}
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(action)


def test_all_that_is_missing_is_named(each: Peer) -> None:
    # REAPI rule: every missing blob has a violation of its own.
    absent = [each.digest(unique()) for _ in range(20)]
    result = reapi.ActionResult()
    for number, digest in enumerate(absent):
        result.output_files.add(path=f"{number:02}", digest=digest)
    with refused(grpc.StatusCode.FAILED_PRECONDITION) as caught:
        each.update_result(an_action(each), result)
    assert missing_subjects(status_of(caught.value)) == {subject(each, digest) for digest in absent}


def test_an_error_that_has_very_much_to_name_still_arrives(peer: Peer) -> None:
    # gRPC clients drop trailers of more than 8 KiB, and then know neither code nor reason: a call's
    # own status names as many blobs as fit, and says how many there are.
    absent = [peer.digest(unique()) for _ in range(1000)]
    result = reapi.ActionResult()
    for number, digest in enumerate(absent):
        result.output_files.add(path=f"{number:04}", digest=digest)
    with refused(grpc.StatusCode.FAILED_PRECONDITION) as caught:
        peer.update_result(an_action(peer), result)
    named = missing_subjects(status_of(caught.value))
    assert named
    assert named <= {subject(peer, digest) for digest in absent}


def test_a_result_with_empty_files_needs_no_upload(each: Peer) -> None:
    # REAPI rule: empty blobs are always available.
    action, result = an_action(each), reapi.ActionResult(stdout_digest=each.digest(b""))
    result.output_files.add(path="empty", digest=each.digest(b""))
    tree = each.put_one(encoded(reapi.Tree(root=reapi.Directory())))
    result.output_directories.add(path="d", tree_digest=tree)
    result.output_directories.add(path="e", root_directory_digest=each.digest(b""))
    each.update_result(action, result)
    assert each.get_result(action).output_files[0].path == "empty"


def malformed_results(peer: Peer) -> dict[str, reapi.ActionResult]:
    garbage = peer.put_one(b"\xff\xff\xff no message of any kind" + unique())
    results = {
        "output_files": reapi.ActionResult(output_files=[reapi.OutputFile(path="no digest")]),
        "digest": reapi.ActionResult(
            output_files=[
                reapi.OutputFile(path="f", digest=reapi.Digest(hash="../x", size_bytes=1))
            ]
        ),
        "stdout": reapi.ActionResult(stdout_digest=reapi.Digest(hash="x", size_bytes=1)),
        "stderr": reapi.ActionResult(stderr_digest=reapi.Digest(hash="x", size_bytes=1)),
    }
    folder = reapi.OutputDirectory(path="d", tree_digest=garbage)
    results["Tree"] = reapi.ActionResult(output_directories=[folder])
    folder = reapi.OutputDirectory(path="d", root_directory_digest=garbage)
    results["Directory"] = reapi.ActionResult(output_directories=[folder])
    return results


@pytest.mark.parametrize(
    "field", ["output_files", "digest", "stdout", "stderr", "Tree", "Directory"]
)
def test_a_malformed_result_is_refused_by_the_field_at_fault(peer: Peer, field: str) -> None:
    action = an_action(peer)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming=field):
        peer.update_result(action, malformed_results(peer)[field])
    with refused(grpc.StatusCode.NOT_FOUND):
        peer.get_result(action)


def test_a_tree_that_is_not_that_of_its_root_digest_is_refused(peer: Peer) -> None:
    # REAPI rule: where both are given, root_directory_digest is the digest of the Tree's root.
    result = a_result(peer)
    other = input_root(peer, {"another": unique()})
    result.output_directories[0].root_directory_digest.CopyFrom(other)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="root_directory_digest"):
        peer.update_result(an_action(peer), result)


def test_an_action_blob_that_is_no_action_is_refused_and_is_a_miss(each: Peer) -> None:
    # REAPI rule: what stands under the digest has to be an Action; a lookup of it is a plain miss.
    garbage = each.put_one(b"\xff\xff no Action" + unique())
    with refused(grpc.StatusCode.NOT_FOUND):
        each.get_result(garbage)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="Action"):
        each.update_result(garbage, reapi.ActionResult())
    assert each.has(each.digest(b""))


def test_an_action_with_a_malformed_command_digest_is_refused(each: Peer) -> None:
    action = reapi.Action(command_digest=reapi.Digest(hash="zz", size_bytes=2), salt=unique())
    digest = each.put_one(encoded(action))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="command_digest"):
        each.update_result(digest, reapi.ActionResult())


def test_a_result_in_another_function_than_its_action_is_refused(peer: Peer) -> None:
    # REAPI rule: a result's digests are of the same function as its action's.
    result = reapi.ActionResult(stdout_digest=peer.using(SHA1).put_one(unique()))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="stdout"):
        peer.update_result(an_action(peer), result)


def get_inlined(
    peer: Peer, action: reapi.Digest, *, files: Sequence[str] = (), streams: bool = False
) -> reapi.ActionResult:
    request = reapi.GetActionResultRequest(
        instance_name=peer.instance,
        action_digest=action,
        digest_function=peer.function,
        inline_stdout=streams,
        inline_stderr=streams,
        inline_output_files=files,
    )
    return peer.action_cache.GetActionResult(request, timeout=CALL_SECONDS)


def test_nothing_is_inlined_that_was_not_asked_for(each: Peer) -> None:
    # REAPI rule: contents come inline only where the request asks for them.
    action = an_action(each)
    each.update_result(action, a_result(each))
    answer = get_inlined(each, action)
    assert (answer.stdout_raw, answer.stderr_raw, answer.output_files[0].contents) == (b"",) * 3
    assert key(answer.stdout_digest) != key(each.digest(b""))


def test_what_is_asked_for_is_inlined_and_keeps_its_digest(each: Peer) -> None:
    action, result = an_action(each), a_result(each)
    each.update_result(action, result)
    answer = get_inlined(each, action, files=["out/file"], streams=True)
    assert answer.stdout_raw == each.read(result.stdout_digest)
    assert answer.stderr_raw == each.read(result.stderr_digest)
    assert answer.output_files[0].contents == each.read(result.output_files[0].digest)
    assert answer.output_files[0].digest == result.output_files[0].digest
    assert answer.stdout_digest == result.stdout_digest


def test_a_path_that_is_no_output_is_not_inlined_and_no_error(peer: Peer) -> None:
    # REAPI rule: inline_output_files is a hint.
    action = an_action(peer)
    peer.update_result(action, a_result(peer))
    assert not get_inlined(peer, action, files=["nowhere", "out"]).output_files[0].contents


def test_inlining_never_makes_a_message_that_clients_refuse(peer: Peer) -> None:
    # REAPI rule: the server may leave out what would not fit. gRPC clients stop at 4 MiB.
    action, result = an_action(peer), reapi.ActionResult()
    paths = [f"{number}" for number in range(8)]
    for path in paths:
        result.output_files.add(path=path, digest=peer.put_one(unique(900_000)))
    result.stdout_digest.CopyFrom(peer.put_one(unique(3_900_000)))
    peer.update_result(action, result)
    answer = get_inlined(peer, action, files=paths, streams=True)
    assert answer.ByteSize() < 4 << 20
    for output in answer.output_files:
        assert output.contents in {b"", peer.read(output.digest)}


def test_stdout_that_was_uploaded_inline_is_found_again(each: Peer) -> None:
    # REAPI rule: the server may move contents between the raw field and the store; none is lost.
    action = an_action(each)
    each.update_result(action, reapi.ActionResult(stdout_raw=b"said", stderr_raw=b"shouted"))
    answer = each.get_result(action)
    stdout = answer.stdout_raw or each.read(answer.stdout_digest)
    stderr = answer.stderr_raw or each.read(answer.stderr_digest)
    assert (stdout, stderr) == (b"said", b"shouted")


def test_a_digest_function_that_is_not_served_is_refused(peer: Peer) -> None:
    action = digest_of(unique())
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="digest_function"):
        peer.using(reapi.DigestFunction.MURMUR3).get_result(action)
