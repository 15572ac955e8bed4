from __future__ import annotations

from tests.protocol.actions import command, put_action, put_script
from tests.protocol.peer import CALL_SECONDS, Executed, Peer


def test_outputs_are_inlined_only_where_they_are_asked_for(each: Peer) -> None:
    # REAPI rule: contents come inline only where the request asks for them.
    action = put_script(each, "printf said; printf shouted >&2; printf made > out", "out")
    plain = each.execute(action).result
    assert (plain.stdout_raw, plain.output_files[0].contents) == (b"", b"")
    request = each.execute_request(action)
    request.inline_stdout = request.inline_stderr = True
    request.inline_output_files.append("out")
    inlined = Executed(list(each.execution.Execute(request, timeout=CALL_SECONDS))).result
    assert inlined.stdout_raw == b"said"
    assert inlined.stderr_raw == b"shouted"
    assert inlined.output_files[0].contents == b"made"


def test_files_are_inlined_by_their_path_from_the_working_directory(peer: Peer) -> None:
    # REAPI rule: output paths are relative to the working directory, in requests and in results.
    of = command("printf here > out", outputs=["out"], working_directory="w")
    action = put_action(peer, of, inputs={"w": None})
    request = peer.execute_request(action)
    request.inline_output_files[:] = ["w/out"]
    result = Executed(list(peer.execution.Execute(request, timeout=CALL_SECONDS))).result
    assert result.output_files[0].contents == b""
    request.inline_output_files[:] = ["out"]
    result = Executed(list(peer.execution.Execute(request, timeout=CALL_SECONDS))).result
    assert result.output_files[0].contents == b"here"


def test_inlining_never_makes_a_message_that_clients_refuse(peer: Peer) -> None:
    # Buck2 rule: its Execution client stops reading a message at 4 MiB.
    action = put_script(peer, "head -c 9000000 /dev/zero; head -c 9000000 /dev/zero > out", "out")
    request = peer.execute_request(action)
    request.inline_stdout = True
    request.inline_output_files.append("out")
    operations = list(peer.execution.Execute(request, timeout=CALL_SECONDS))
    assert max(operation.ByteSize() for operation in operations) < 4 << 20
    result = Executed(operations).result
    assert result.stdout_digest == peer.digest(bytes(9_000_000))
