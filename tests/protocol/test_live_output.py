"""The output of a running action, read while it runs: order is what counts, never time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2

from protos import bytestream_pb2, remote_execution_pb2 as reapi
from tests.protocol.actions import command, put_action, put_script, stderr_of, stdout_of
from tests.protocol.peer import CALL_SECONDS, Executed, Peer, connected, operation_metadata, refused
from tests.re_cli.command import Holdfast
from tests.re_cli.worker import working
from tests.serving import Served, serving

# Actions see the host's files, so that the test can let them go on.
SETTINGS = """
server.drain_seconds = 2
execution.heartbeat_seconds = 1
logs.max_stream_bytes = 4_000_000
worker.sandbox.kind = "none"
worker.slots = 4
"""


@dataclass(frozen=True)
class Begun:
    """An action that has written `one` to both streams and waits. opened: what lets it go on."""

    operations: Iterator[operations_pb2.Operation]
    state: reapi.ExecuteOperationMetadata
    opened: Path

    @property
    def names(self) -> tuple[str, str]:
        return self.state.stdout_stream_name, self.state.stderr_stream_name

    def ended(self) -> Executed:
        self.opened.touch()
        return Executed(list(self.operations))


def script(opened: Path) -> str:
    wait = f"while [ ! -e {opened} ]; do sleep 0.02; done"
    return f"echo one; echo ONE >&2; {wait}; echo two; echo TWO >&2"


def execute(peer: Peer, action: reapi.Digest) -> Iterator[operations_pb2.Operation]:
    return iter(peer.execution.Execute(peer.execute_request(action), timeout=CALL_SECONDS))


def named(operations: Iterator[operations_pb2.Operation]) -> reapi.ExecuteOperationMetadata:
    """Return the first state in which the action runs; it must not be done before."""
    for operation in operations:
        assert not operation.done
        state = operation_metadata(operation)
        if state.stage == reapi.ExecutionStage.EXECUTING:
            return state
        assert not state.stdout_stream_name
    raise AssertionError("the action was never executed")


@contextmanager
def begun(peer: Peer, folder: Path) -> Iterator[Begun]:
    opened = folder / "opened"
    operations = execute(peer, put_script(peer, script(opened)))
    try:
        yield Begun(operations, named(operations), opened)
    finally:
        opened.touch()


def whole(peer: Peer, names: Sequence[str]) -> list[bytes]:
    """Read streams to their ends."""
    return [b"".join(peer.pieces(name)) for name in names]


def test_output_is_read_before_the_action_ends_by_as_many_as_like(
    peer: Peer, tmp_path: Path
) -> None:
    with begun(peer, tmp_path) as action:
        readers = [peer.pieces(name) for name in action.names * 2]
        assert [next(reader) for reader in readers] == [b"one\n", b"ONE\n"] * 2
        gone = peer.stream.Read(_read_of(action.names[0]), timeout=CALL_SECONDS)
        next(gone)
        gone.cancel()
        # It runs still: its next line is written when it is let go.
        executed = action.ended()
        assert [b"".join(reader) for reader in readers] == [b"two\n", b"TWO\n"] * 2
    assert stdout_of(peer, executed.result) == b"one\ntwo\n"
    assert stderr_of(peer, executed.result) == b"ONE\nTWO\n"
    last = executed.metadata[-1]
    assert (last.stdout_stream_name, last.stderr_stream_name) == action.names
    assert whole(peer, action.names) == [b"one\ntwo\n", b"ONE\nTWO\n"]
    assert b"".join(peer.pieces(action.names[0], offset=4, limit=2)) == b"tw"


def test_who_joins_gets_the_same_names_and_so_does_who_waits(peer: Peer, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    action = put_script(peer, script(opened))
    first = execute(peer, action)
    state = named(first)
    joined = execute(peer, action)
    assert named(joined).stdout_stream_name == state.stdout_stream_name
    opened.touch()
    executed = [Executed(list(each)) for each in (first, joined)]
    waited = peer.wait(executed[0].name).metadata[-1]
    assert waited.stderr_stream_name == state.stderr_stream_name
    assert peer.execute(action).metadata[-1].stdout_stream_name == ""


def test_a_stream_is_the_instances_own_and_cannot_be_written(peer: Peer, tmp_path: Path) -> None:
    with begun(peer.at("some/where"), tmp_path) as action:
        assert all(name.startswith("some/where/logstreams/") for name in action.names)
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            peer.write(action.names[0], b"x")
        with refused(grpc.StatusCode.NOT_FOUND):
            peer.write(f"{action.names[0]}/{'0' * 32}", b"x")
        action.ended()


@pytest.mark.parametrize("count", [0, 200_000, 700_000])
def test_however_much_is_written_a_stream_has_the_results_up_to_its_bound(
    peer: Peer, count: int
) -> None:
    executed = peer.execute(put_script(peer, f"seq {count}; seq 3 >&2"))
    stdout, stderr = whole(
        peer, [executed.metadata[-1].stdout_stream_name, executed.metadata[-1].stderr_stream_name]
    )
    data = stdout_of(peer, executed.result)
    assert stderr == b"1\n2\n3\n"
    assert stdout[:4_000_000] == data[:4_000_000]
    assert (b"logs.max_stream_bytes" in stdout) == (len(data) > 4_000_000)


def test_the_streams_of_an_action_that_runs_too_long_have_what_it_wrote(peer: Peer) -> None:
    action = put_action(peer, command("echo one; sleep 60"), timeout_seconds=1)
    executed = peer.execute(action)
    state = executed.metadata[-1]
    assert executed.response.status.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    names = (state.stdout_stream_name, state.stderr_stream_name)
    assert whole(peer, names) == [b"one\n", b""]


def test_the_streams_of_a_cancelled_action_end(peer: Peer, tmp_path: Path) -> None:
    action = put_script(peer, script(tmp_path / "opened"))
    operations = execute(peer, action)
    first = next(operations)
    state = named(chain([first], operations))
    reader = peer.pieces(state.stdout_stream_name)
    assert next(reader) == b"one\n"
    peer.operations.CancelOperation(
        operations_pb2.CancelOperationRequest(name=first.name), timeout=CALL_SECONDS
    )
    assert b"".join(reader) == b""


def test_a_command_shows_output_as_it_comes(served: Served, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    line = ["sh", "-c", script(opened)]
    with Holdfast(served.grpc).started("execute", *line) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"one\n"
        assert process.stderr.readline() == b"ONE\n"
        opened.touch()
        assert process.stdout.read() == b"two\n"
        assert process.stderr.read().startswith(b"TWO\nholdfast: action ")
        assert process.wait(CALL_SECONDS) == 0


def test_a_worker_elsewhere_is_read_and_when_it_is_lost_the_next_attempt_is(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    own = 'worker.sandbox.kind = "none"'
    settings = "worker.enabled = false\nexecution.heartbeat_seconds = 1\n"
    with serving(tmp_path / "server", settings) as served, ExitStack() as stack:
        peer = stack.enter_context(connected(served.grpc))
        lost = stack.enter_context(working(tmp_path / "one", served.grpc, settings=own))
        operations = execute(peer, put_script(peer, script(opened)))
        state = named(operations)
        reader = peer.pieces(state.stdout_stream_name)
        assert next(reader) == b"one\n"
        lost.kill()
        assert b"".join(reader) == b""
        stack.enter_context(working(tmp_path / "two", served.grpc, settings=own))
        again = named(operations)
        while again.stdout_stream_name == state.stdout_stream_name:
            again = named(operations)
        reader = peer.pieces(again.stdout_stream_name)
        assert next(reader) == b"one\n"
        opened.touch()
        result = Executed(list(operations)).result
        assert b"".join(reader) == b"two\n"
        assert stdout_of(peer, result) == b"one\ntwo\n"


def _read_of(name: str) -> bytestream_pb2.ReadRequest:
    return bytestream_pb2.ReadRequest(resource_name=name)
