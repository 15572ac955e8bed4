"""Actions, Commands and Directories that are not what they should be: refused by name."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2

from protos import remote_execution_pb2 as reapi
from tests.protocol.actions import chain, command, put_action, put_script
from tests.protocol.blobs import key, unique
from tests.protocol.peer import CALL_SECONDS, Peer, Refusal, attempt, refused, unexecuted
from tests.serving import Served

GARBAGE = b"\xff\xff\xff\xff no message of the protocol"
OUTSIDE = ("../x", "/etc/x", "a/../../x", "a\0b", "..", "/")


def encoded(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def action_over(peer: Peer, root: bytes, *, of: reapi.Command | None = None) -> reapi.Digest:
    """Upload an Action whose input root is the blob `root`, whatever that is."""
    action = reapi.Action(
        command_digest=peer.put_one(encoded(of or command("true"))),
        input_root_digest=peer.put_one(root),
        salt=unique(),
    )
    return peer.put_one(encoded(action))


def invalid(peer: Peer, action: reapi.Digest, *, naming: str) -> None:
    """Expect INVALID_ARGUMENT, before or after the Operation is made, with `naming` in it."""
    status = unexecuted(peer, action)
    assert status.code == code_pb2.INVALID_ARGUMENT, status
    assert naming in status.message


def assert_alive(peer: Peer) -> None:
    assert peer.execute(put_script(peer, "true")).result.exit_code == 0


def test_a_blob_that_is_no_action_is_refused(each: Peer) -> None:
    digest = each.put_one(GARBAGE + unique())
    invalid(each, digest, naming="Action")
    assert_alive(each)


def test_an_empty_action_is_refused(each: Peer) -> None:
    # The empty blob is an Action without a command.
    invalid(each, each.digest(b""), naming="command_digest")


def test_a_blob_that_is_no_command_is_refused(each: Peer) -> None:
    action = reapi.Action(
        command_digest=each.put_one(GARBAGE + unique()), input_root_digest=each.digest(b"")
    )
    invalid(each, each.put_one(encoded(action)), naming="Command")


def test_a_blob_that_is_no_directory_is_refused(each: Peer) -> None:
    action = action_over(each, GARBAGE + unique())
    invalid(each, action, naming="Directory")


def test_an_action_without_arguments_is_refused(peer: Peer) -> None:
    action = action_over(peer, b"", of=reapi.Command())
    invalid(peer, action, naming="arguments")


@pytest.mark.parametrize("field", ["command_digest", "input_root_digest"])
@pytest.mark.parametrize("hash", ["x", "../../etc/passwd", "A" * 64, "0" * 63])
def test_a_malformed_digest_in_an_action_is_refused_by_its_field(
    peer: Peer, field: str, hash: str
) -> None:
    # REAPI rule: a hash is lowercase hexadecimal of the function's length.
    action = reapi.Action(
        command_digest=peer.put_one(encoded(command("true"))), input_root_digest=peer.digest(b"")
    )
    malformed = reapi.Digest(hash=hash, size_bytes=1)
    (action.command_digest if field == "command_digest" else action.input_root_digest).CopyFrom(
        malformed
    )
    invalid(peer, peer.put_one(encoded(action)), naming=field)


@pytest.mark.parametrize("hash", ["", "x", "../../etc/passwd", "A" * 64, "0" * 63])
def test_a_malformed_action_digest_is_refused(peer: Peer, hash: str) -> None:
    invalid(peer, reapi.Digest(hash=hash, size_bytes=1), naming="digest")


def test_a_request_without_an_action_digest_is_refused(peer: Peer) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, naming="action_digest"):
        list(peer.execution.Execute(reapi.ExecuteRequest(), timeout=CALL_SECONDS))


def bad_directories(peer: Peer) -> dict[str, reapi.Directory]:
    """Return Directories that break a rule, by the word that the refusal has to hold."""
    file, folder = peer.put_one(unique()), peer.digest(b"")
    node = reapi.FileNode
    below = reapi.DirectoryNode
    return {
        "sorted": reapi.Directory(files=[node(name="b", digest=file), node(name="a", digest=file)]),
        "twice": reapi.Directory(
            files=[node(name="a", digest=file)], directories=[below(name="a", digest=folder)]
        ),
        "no digest": reapi.Directory(files=[node(name="a")]),
        "lowercase hexadecimal": reapi.Directory(
            files=[node(name="a", digest=reapi.Digest(hash="../../x", size_bytes=1))]
        ),
        "target": reapi.Directory(symlinks=[reapi.SymlinkNode(name="a", target="")]),
        "node_properties": reapi.Directory(
            symlinks=[
                reapi.SymlinkNode(
                    name="a",
                    target="b",
                    node_properties=reapi.NodeProperties(
                        properties=[reapi.NodeProperty(name=name) for name in ("b", "a")]
                    ),
                )
            ]
        ),
        "size_bytes": reapi.Directory(
            files=[node(name="a", digest=reapi.Digest(hash=file.hash, size_bytes=-1))]
        ),
    }


@pytest.mark.parametrize(
    "word",
    [
        "sorted",
        "twice",
        "no digest",
        "lowercase hexadecimal",
        "target",
        "node_properties",
        "size_bytes",
    ],
)
def test_a_directory_that_is_not_canonical_is_refused(each: Peer, word: str) -> None:
    # REAPI rules: names are unique over files, directories and links, and each list is sorted.
    action = action_over(each, encoded(bad_directories(each)[word]))
    invalid(each, action, naming=word)


@pytest.mark.parametrize("kind", ["files", "directories", "symlinks"])
@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b", "../../etc/passwd"])
def test_a_name_that_is_no_single_segment_is_refused(peer: Peer, kind: str, name: str) -> None:
    # REAPI rule: a node's name is one path segment, and not `.` or `..`.
    directory = reapi.Directory()
    if kind == "files":
        directory.files.add(name=name, digest=peer.put_one(unique()))
    elif kind == "directories":
        directory.directories.add(name=name, digest=peer.digest(b""))
    else:
        directory.symlinks.add(name=name, target="x")
    invalid(peer, action_over(peer, encoded(directory)), naming=kind)


def test_fields_out_of_order_or_unknown_are_refused(peer: Peer) -> None:
    # REAPI rule: a Directory is serialised with its fields in the order of their tags, and with
    # no others, so that equal directories have equal digests.
    file, folder = peer.put_one(unique()), peer.digest(b"")
    files = encoded(reapi.Directory(files=[reapi.FileNode(name="f", digest=file)]))
    folders = encoded(reapi.Directory(directories=[reapi.DirectoryNode(name="d", digest=folder)]))
    for data in (folders + files, files + b"\xfa\x3e\x01x"):
        invalid(peer, action_over(peer, data), naming="Directory")


def test_a_canonical_directory_of_all_kinds_is_accepted(peer: Peer) -> None:
    # Uppercase sorts before lowercase, and both before what is beyond ASCII.
    file = peer.put_one(unique())
    directory = reapi.Directory(
        files=[reapi.FileNode(name=name, digest=file) for name in ("B", "a", "a.b", "a0", "é")],
        directories=[reapi.DirectoryNode(name="A", digest=peer.digest(b""))],
        symlinks=[reapi.SymlinkNode(name="Z", target="nowhere")],
    )
    assert peer.execute(action_over(peer, encoded(directory))).result.exit_code == 0


def test_a_tree_that_is_too_deep_is_refused(peer: Peer) -> None:
    root = chain(peer, 500)
    invalid(peer, action_over(peer, peer.read(root)), naming="deep")
    assert_alive(peer)


def test_a_tree_that_unfolds_to_2_to_the_40_paths_is_refused(peer: Peer) -> None:
    root = chain(peer, 41, width=2)
    invalid(peer, action_over(peer, peer.read(root)), naming="paths")
    assert_alive(peer)


@pytest.mark.parametrize("path", OUTSIDE)
def test_an_output_path_outside_the_input_root_is_refused(peer: Peer, path: str) -> None:
    # REAPI rule: output paths are relative, and stay below the input root.
    of = command("true")
    of.output_paths[:] = [path]
    invalid(peer, put_action(peer, of), naming="output_paths")


@pytest.mark.parametrize("path", ["a/", "./a", "a//b", "a/../a/b"])
def test_an_output_path_in_another_form_is_refused_or_echoed(peer: Peer, path: str) -> None:
    # REAPI rule: no slash at the end. Clients find outputs by the very strings that they sent.
    of = command("mkdir -p a; echo 1 > a/b")
    of.output_paths[:] = [path]
    answer = unexecuted(peer, put_action(peer, of))
    if answer.code:
        assert answer.code == code_pb2.INVALID_ARGUMENT
        assert "output_paths" in answer.message
    else:
        result = peer.execute(put_action(peer, of)).result
        told = [output.path for output in result.output_files]
        assert told + [output.path for output in result.output_directories] == [path]


@pytest.mark.parametrize("field", ["output_files", "output_directories"])
def test_the_older_output_fields_are_checked_too(peer: Peer, field: str) -> None:
    for path in ("../x", "/etc/x", "a\0b"):
        of = command("true")
        (of.output_files if field == "output_files" else of.output_directories).append(path)
        invalid(peer, put_action(peer, of), naming=field)


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../../b", "a\0b"])
def test_a_working_directory_outside_the_input_root_is_refused(peer: Peer, path: str) -> None:
    # REAPI rule: working_directory is relative to the input root.
    invalid(
        peer, put_action(peer, command("true", working_directory=path)), naming="working_directory"
    )


@pytest.mark.parametrize(("name", "value"), [("A=B", "x"), ("", "x"), ("A\0", "x"), ("A", "x\0y")])
def test_environment_variables_that_no_process_can_have_are_refused(
    peer: Peer, name: str, value: str
) -> None:
    invalid(
        peer, put_action(peer, command("true", env={name: value})), naming="environment_variables"
    )


def test_an_argument_with_a_nul_is_refused(peer: Peer) -> None:
    of = command("true")
    of.arguments.append("a\0b")
    invalid(peer, put_action(peer, of), naming="arguments")


def test_an_absolute_link_of_an_input_is_as_the_server_announces(peer: Peer) -> None:
    # REAPI rule: where absolute targets are DISALLOWED, such an input is INVALID_ARGUMENT.
    strategy = peer.capabilities.GetCapabilities(
        reapi.GetCapabilitiesRequest(), timeout=CALL_SECONDS
    ).cache_capabilities.symlink_absolute_path_strategy
    link = reapi.SymlinkNode(name="a", target="/etc/hostname")
    action = action_over(peer, encoded(reapi.Directory(symlinks=[link])))
    if strategy == reapi.SymlinkAbsolutePathStrategy.DISALLOWED:
        invalid(peer, action, naming="/etc/hostname")
    else:
        assert peer.execute(action).result.exit_code == 0


def test_an_instance_with_a_keyword_in_its_name_is_refused_by_every_service(peer: Peer) -> None:
    # REAPI rule: no segment of an instance name is a keyword of resource names.
    there, digest = peer.at("a/uploads/b"), peer.digest(b"")
    refuse_all(there, digest, naming="uploads")


@pytest.mark.parametrize("instance", ["/", "a//b", "/a", "a/", "..", "a/../b", "\0", "a\nb"])
def test_a_malformed_instance_is_refused_by_every_service(peer: Peer, instance: str) -> None:
    refuse_all(peer.at(instance), peer.digest(b""), naming="")


def refuse_all(there: Peer, digest: reapi.Digest, *, naming: str) -> None:
    codes = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    with refused(*codes, naming=naming):
        there.find_missing(digest)
    with refused(*codes, naming=naming):
        there.put(b"")
    with refused(*codes, naming=naming):
        there.batch_read(digest)
    with refused(*codes, naming=naming):
        there.execute(digest)
    with refused(*codes, naming=naming):
        there.get_result(digest)
    with refused(*codes, naming=naming):
        there.update_result(digest, reapi.ActionResult())


METHODS = (
    "ContentAddressableStorage/FindMissingBlobs", "ContentAddressableStorage/BatchUpdateBlobs",
    "ContentAddressableStorage/BatchReadBlobs", "ContentAddressableStorage/GetTree",
    "ActionCache/GetActionResult", "ActionCache/UpdateActionResult", "Execution/Execute",
    "Execution/WaitExecution", "Capabilities/GetCapabilities",
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("request_bytes", [GARBAGE, b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
def test_requests_that_are_no_messages_end_with_an_error_and_no_more(
    peer: Peer, method: str, request_bytes: bytes
) -> None:
    call = peer.channel.unary_stream(
        f"/build.bazel.remote.execution.v2.{method}",
        request_serializer=lambda request: request,
        response_deserializer=lambda response: response,
    )
    with pytest.raises(grpc.RpcError):
        list(call(request_bytes, timeout=CALL_SECONDS))
    assert peer.has(peer.digest(b""))


def test_a_write_that_is_no_message_ends_with_an_error_and_no_more(peer: Peer) -> None:
    call = peer.channel.stream_unary(
        "/google.bytestream.ByteStream/Write",
        request_serializer=lambda request: request,
        response_deserializer=lambda response: response,
    )
    with pytest.raises(grpc.RpcError):
        call(iter([GARBAGE]), timeout=CALL_SECONDS)
    assert peer.has(peer.digest(b""))


def test_a_message_that_is_too_large_is_resource_exhausted(served: Served, peer: Peer) -> None:
    # The bound is server.max_message_bytes, 64 MiB unless it is set.
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT):
        put_raw(served, [b"x" * ((64 << 20) - 1000)])
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
        put_raw(served, [b"x" * (33 << 20)] * 2)
    assert peer.has(peer.digest(b""))


def put_raw(served: Served, blobs: Sequence[bytes]) -> None:
    request = reapi.BatchUpdateBlobsRequest()
    for data in blobs:
        request.requests.add(digest=reapi.Digest(hash="0" * 64, size_bytes=len(data)), data=data)
    with grpc.insecure_channel(
        served.grpc, options=(("grpc.max_send_message_length", -1),)
    ) as channel:
        Peer(channel).cas.BatchUpdateBlobs(request, timeout=CALL_SECONDS)


def test_results_of_one_tenth_of_a_million_outputs_are_refused_or_stored(peer: Peer) -> None:
    result = reapi.ActionResult()
    empty = peer.digest(b"")
    for number in range(100_000):
        result.output_files.add(path=f"{number:07}", digest=empty)
    action = put_script(peer, "true")
    answer = attempt(lambda: peer.update_result(action, result))
    if isinstance(answer, Refusal):
        bounds = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert answer.code in bounds
    else:
        assert len(answer.output_files) == 100_000
    assert {key(digest) for digest in peer.find_missing(empty)} == set()
