"""A server's end: what is under way comes to its own, unless it is told twice."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import grpc
import pytest

from tests.protocol.actions import put_script
from tests.protocol.blobs import unique
from tests.protocol.peer import CALL_SECONDS, Refusal, attempt, connected, refused, retry_seconds
from tests.protocol.sending import Sender, message
from tests.re_server.gate import PAUSE_SECONDS, SETTINGS, lives, running
from tests.serving import Served, serving

NO_END = "server.drain_seconds = 1000\n"
END_SECONDS = 60


def readiness(server: Served) -> int:
    """Return the status of /readyz."""
    try:
        with urlopen(f"http://{server.web}/readyz", timeout=CALL_SECONDS) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code


def told_to_stop(server: Served, number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal, and wait until it has been understood."""
    server.process.send_signal(number)
    while readiness(server) == 200:
        time.sleep(PAUSE_SECONDS)


def complaints(server: Served) -> list[str]:
    """Return the lines of the log that say that something went wrong."""
    bad = ("Traceback", "ERROR", "Error", "Warning", "never awaited", "was destroyed")
    return [line for line in server.log.read_text().splitlines() if any(b in line for b in bad)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_action_that_runs_comes_to_its_end_and_nothing_new_begins(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path / "server", NO_END + SETTINGS) as server:
        with connected(server.grpc) as peer, running(peer, tmp_path / "gate") as gate:
            assert readiness(server) == 200
            other = put_script(peer, "true")
            told_to_stop(server, number)
            assert readiness(server) == 503
            with refused(grpc.StatusCode.UNAVAILABLE) as caught:
                peer.execute(other)
            assert retry_seconds(caught.value) > 0
            gate.open()
            result = gate.executed().result
            assert result.output_files[0].digest == peer.digest(b"done\n")
        assert server.process.wait(END_SECONDS) == 0
        assert complaints(server) == []


def test_a_result_that_came_while_the_server_drained_is_a_hit_afterwards(tmp_path: Path) -> None:
    with serving(tmp_path / "server", NO_END + SETTINGS) as server:
        with connected(server.grpc) as peer, running(peer, tmp_path / "gate") as gate:
            told_to_stop(server)
            gate.open()
            executed = gate.executed()
        assert server.process.wait(END_SECONDS) == 0
    with serving(tmp_path / "server", SETTINGS) as server, connected(server.grpc) as peer:
        assert peer.get_result(executed.metadata[-1].action_digest) == executed.result


def test_actions_that_wait_in_the_queue_are_run_or_refused_and_never_lost(tmp_path: Path) -> None:
    with serving(tmp_path / "server", NO_END + SETTINGS) as server:
        with connected(server.grpc) as peer, running(peer, tmp_path / "gate") as gate:
            waiting = put_script(peer, "echo later > out", "out")
            stream = iter(
                peer.execution.Execute(peer.execute_request(waiting), timeout=CALL_SECONDS)
            )
            next(stream)
            told_to_stop(server)
            gate.open()
            assert gate.executed().result.exit_code == 0
            told = attempt(lambda: list(stream))
            if isinstance(told, Refusal):
                assert told.code is grpc.StatusCode.UNAVAILABLE
            else:
                assert told[-1].done
        assert server.process.wait(END_SECONDS) == 0


def test_a_second_signal_ends_at_once_and_with_it_the_action(tmp_path: Path) -> None:
    with serving(tmp_path / "server", NO_END + SETTINGS) as server:
        with connected(server.grpc) as peer, running(peer, tmp_path / "gate") as gate:
            action = gate.process()
            told_to_stop(server)
            assert lives(action)
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(END_SECONDS) == 0
            assert not lives(action)
            told = attempt(gate.executed)
            if isinstance(told, Refusal):
                assert told.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
            else:
                assert not told.operations[-1].done
        assert "stopping at once" in server.log.read_text()
        assert not [line for line in complaints(server) if "Traceback" in line]


def test_an_action_gets_no_more_time_than_drain_seconds(tmp_path: Path) -> None:
    settings = "server.drain_seconds = 0.2\n" + SETTINGS
    with (
        serving(tmp_path / "server", settings) as server,
        connected(server.grpc) as peer,
        running(peer, tmp_path / "gate") as gate,
    ):
        action = gate.process()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(END_SECONDS) == 0
        assert not lives(action)


def test_uploads_that_are_open_do_not_hold_up_the_end_and_leave_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "server", SETTINGS) as server:
        with connected(server.grpc) as peer:
            data = unique(300_000)
            sender = Sender(peer)
            name = peer.write_name(peer.digest(data))
            sender.send(message(name, data[:200_000]))
            broken = Sender(peer)
            broken.send(message(peer.write_name(peer.digest(unique())), b"begun"))
            broken.close()
            with refused(grpc.StatusCode.INVALID_ARGUMENT):
                broken.committed_size()
            while not list((tmp_path / "server/store/incoming").iterdir()):
                time.sleep(PAUSE_SECONDS)
            assert server.stop() == 0
            sender.close()
        assert complaints(server) == []
    assert list((tmp_path / "server/store/incoming").iterdir()) == []
    with serving(tmp_path / "server", SETTINGS) as server, connected(server.grpc) as peer:
        assert peer.find_missing(peer.digest(data)) == [peer.digest(data)]
        assert peer.write(peer.write_name(peer.digest(data)), data) == len(data)


def test_a_server_that_has_stopped_answers_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "server", SETTINGS) as server:
        assert server.stop() == 0
        with pytest.raises(URLError):
            readiness(server)
        with connected(server.grpc) as peer, refused(grpc.StatusCode.UNAVAILABLE):
            peer.find_missing(peer.digest(unique()))
