"""The two commands that go on until they are told to stop."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.re_cli.command import Holdfast
from tests.re_cli.worker import working
from tests.serving import HOLDFAST, Served, serving

WAIT_SECONDS = 60
NO_WORKER = "worker.enabled = false\nexecution.no_worker_seconds = 60\n"


def until_logged(log: Path, text: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_worker_in_a_process_of_its_own_runs_actions_and_drains(tmp_path: Path) -> None:
    # The bound on blobs is one on what clients upload.
    with serving(tmp_path / "server", "server.max_blob_bytes = 1000\n" + NO_WORKER) as served:
        holdfast = Holdfast(served.grpc)
        with working(tmp_path / "worker", served.grpc) as worker:
            log = tmp_path / "worker" / "worker.log"
            done = holdfast("execute", "--output", "out", "--output", "large",
                            "-d", str(tmp_path / "got"), "--",
                            "sh", "-c", "echo data > out; head -c 5000000 /dev/zero > large")  # fmt: skip  # noqa: E501
            assert done.status == 0, done.stderr
            assert "ran on apart" in done.stderr
            assert (tmp_path / "got" / "out").read_text() == "data\n"
            assert (tmp_path / "got" / "large").stat().st_size == 5_000_000

            slow = threading.Thread(target=lambda: slow_done.append(
                holdfast("execute", "sh", "-c", "echo begun; sleep 3; echo ended")))  # fmt: skip
            slow_done: list[object] = []
            slow.start()
            deadline = time.monotonic() + WAIT_SECONDS
            while running(holdfast) != 1:
                assert time.monotonic() < deadline
            worker.send_signal(signal.SIGTERM)
            until_logged(log, "a second signal ends at once")
            assert worker.wait(timeout=WAIT_SECONDS) == 0
            slow.join()
            assert getattr(slow_done[0], "stdout", b"") == b"begun\nended\n"
            assert "Traceback" not in log.read_text()


def running(holdfast: Holdfast) -> int:
    status = holdfast("status", "--json").json()["status"]
    assert isinstance(status, dict)
    return sum(worker["running"] for worker in status["workers"])


def test_a_second_signal_ends_a_worker_at_once(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "server", NO_WORKER) as served,
        working(tmp_path / "worker", served.grpc) as worker,
    ):
        holdfast = Holdfast(served.grpc)
        line = [str(HOLDFAST), "execute", "--server", served.grpc, "sleep", "600"]
        with subprocess.Popen(line, stderr=subprocess.DEVNULL) as waiting:
            deadline = time.monotonic() + WAIT_SECONDS
            while running(holdfast) != 1:
                assert time.monotonic() < deadline
            worker.send_signal(signal.SIGTERM)
            until_logged(tmp_path / "worker" / "worker.log", "a second signal ends at once")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=WAIT_SECONDS) == 0
            waiting.terminate()


def test_a_worker_waits_for_its_server_and_comes_back_when_it_is_restarted(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with working(tmp_path / "worker", address) as worker:
        log = tmp_path / "worker" / "worker.log"
        until_logged(log, "trying again")
        for _ in range(2):
            with serving(tmp_path / "server", NO_WORKER, listen=address) as served:
                done = Holdfast(served.grpc)("execute", "--no-cache", "echo", "here")
                assert done.stdout == b"here\n", done.stderr
                served.kill()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=WAIT_SECONDS) == 0
        assert "Traceback" not in log.read_text()


def test_an_execution_outlives_a_server_that_is_restarted(tmp_path: Path) -> None:
    # REAPI rule: where WaitExecution finds nothing, the client executes again.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    begun = threading.Event()
    done: list[bytes] = []

    def execute() -> None:
        begun.set()
        done.append(Holdfast(address)("execute", "sh", "-c", "sleep 2; echo over").stdout)

    with serving(tmp_path / "server", listen=address) as served:
        client = threading.Thread(target=execute)
        client.start()
        deadline = time.monotonic() + WAIT_SECONDS
        while running(Holdfast(served.grpc)) != 1:
            assert time.monotonic() < deadline
        served.kill()
    with serving(tmp_path / "server", listen=address):
        client.join()
    assert done == [b"over\n"]


def test_serve_says_for_people_where_it_is_and_what_bazel_is_to_be_told(tmp_path: Path) -> None:
    config = tmp_path / "holdfast.toml"
    config.write_text(f'store.path = "{tmp_path}/store"\nworker.enabled = false\n')
    with subprocess.Popen(
        [
            HOLDFAST,
            "serve",
            "--config",
            config,
            *("--listen", "127.0.0.1:0"),
            *("--web", "127.0.0.1:0"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=WAIT_SECONDS) == 0
        assert process.stderr is not None
        log = process.stderr.read()
    grpc = re.search(r"grpc://127\.0\.0\.1:\d+", first)
    assert grpc is not None
    assert f"--remote_executor={grpc[0]}" in second
    assert re.search(r"^\S+ \S+ INFO re_server\.\w+: ", log, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "options", "status", "told"),
    [
        ("store.max_byts = 1", (), 2, "did you mean `max_bytes`"),
        ("", ("--listen", "0.0.0.0:0"), 2, "nothing is encrypted"),
        (
            'worker.sandbox = { kind = "bubblewrap", program = "/absent/bwrap" }',
            (),
            1,
            "/absent/bwrap",
        ),
    ],
)
def test_serve_that_cannot_begin_says_why_in_one_line(
    tmp_path: Path, text: str, options: tuple[str, ...], status: int, told: str
) -> None:
    config = tmp_path / "holdfast.toml"
    config.write_text(
        f'server.listen = "127.0.0.1:0"\nserver.web = "127.0.0.1:0"\nworker.path = "{tmp_path}/w"\n'
        f'store.path = "{tmp_path}/store"\n{text}'
    )
    done = Holdfast("")("serve", "--config", config, *options)
    assert done.status == status, done.stderr
    assert told in done.stderr.splitlines()[-1]


def test_a_store_that_is_in_use_and_an_address_that_is_taken_are_told(served: Served) -> None:
    config = served.log.with_name("holdfast.toml")
    done = Holdfast("")("serve", "--config", config)
    assert done.status == 1, done.stderr
    assert "store" in done.stderr
    other = served.log.with_name("other.toml")
    other.write_text(
        f'server.listen = "{served.grpc}"\nserver.web = "127.0.0.1:0"\nworker.enabled = false\n'
        f'store.path = "{served.log.parent}/other"\n'
    )
    done = Holdfast("")("serve", "--config", other)
    assert done.status == 1, done.stderr
    assert served.grpc in done.stderr.splitlines()[-1]


def test_a_worker_that_is_refused_says_why(served: Served, tmp_path: Path) -> None:
    config = tmp_path / "worker.toml"
    config.write_text('worker.path = "/proc/no"\n')
    done = Holdfast(served.grpc)("worker", "--config", config)
    assert done.status == 1
    assert "/proc/no" in done.stderr.splitlines()[-1]
