"""Servers under measurement: each in a process of its own, and what /proc says of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
HOLDFAST = Path(sys.executable).with_name("holdfast")
START_SECONDS = 60
STOP_SECONDS = 30
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that takes calls. address: HOST:PORT. start_seconds: until it took the first.

    credentials: what it is known by, None where nothing is encrypted.
    """

    name: str
    pid: int
    address: str
    start_seconds: float
    credentials: grpc.ChannelCredentials | None = None

    def channel(self) -> grpc.Channel:
        return _channel(self.address, self.credentials)

    def cpu_seconds(self) -> float:
        """User and system time until now of the process and all that it started.

        A process's own clock is exact to the microsecond; what its ended children took is not in
        it, and comes from /proc/PID/stat, fields 16 and 17, in ticks of 10 ms.
        """
        return sum(_process_seconds(pid) for pid in _tree(self.pid))

    def resident_bytes(self) -> int:
        """Memory in use now, over the process and all that it started."""
        return _status_bytes(self.pid, "VmRSS")

    def own_bytes(self) -> int:
        """The same without files: pages of the index come and go as the system likes."""
        return _status_bytes(self.pid, "RssAnon")

    def peak_resident_bytes(self) -> int:
        """Most memory in use since the start or `forget_peak`: the sum of the processes' own."""
        return _status_bytes(self.pid, "VmHWM")

    def forget_peak(self) -> None:
        """Let `peak_resident_bytes` begin from what is in use now. Source: proc(5), clear_refs."""
        for pid in _tree(self.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.secure_channel(address, credentials, options=CHANNEL_OPTIONS)


def _process_seconds(pid: int) -> float:
    children = sum(map(int, _stat(pid)[13:15])) / TICKS_PER_SECOND
    try:
        # The clock id is as clock_getcpuclockid(3) makes it, which Python does not have.
        return time.clock_gettime(~pid << 3 | 2) + children
    except OSError:  # it has ended
        return 0


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third (state) on; none if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["Z", *["0"] * 49]


def _tree(root: int) -> set[int]:
    """Return `root` and all processes below it."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    parents = {pid: int(_stat(pid)[1]) for pid in pids}
    tree, last = {root}, 0
    while len(tree) > last:
        last = len(tree)
        tree |= {pid for pid, parent in parents.items() if parent in tree}
    return tree


def _status_bytes(root: int, field: str) -> int:
    total = 0
    for pid in _tree(root):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1]) * 1024
    return total


def free_port() -> int:
    """Return a loopback port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def launched(
    name: str,
    command: Sequence[object],
    port: int,
    folder: Path,
    *,
    credentials: grpc.ChannelCredentials | None = None,
) -> Iterator[Running]:
    """Run `command`, which is to serve gRPC on 127.0.0.1:`port`, until the block ends.

    folder: where its log goes. credentials: what it is known by, where it speaks TLS. Raises
    RuntimeError with the log's end if it does not serve.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("w") as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
        )
    try:
        _await_serving(name, process, port, log, credentials)
        seconds = time.monotonic() - begin
        yield Running(name, process.pid, f"127.0.0.1:{port}", seconds, credentials)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here: asked first, then by force."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_serving(
    name: str,
    process: subprocess.Popen[bytes],
    port: int,
    log: Path,
    credentials: grpc.ChannelCredentials | None,
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                with _channel(f"127.0.0.1:{port}", credentials) as channel:
                    grpc.channel_ready_future(channel).result(START_SECONDS)
                return
        time.sleep(0.005)
    raise RuntimeError(f"{name} does not serve:\n{log.read_text(errors='replace')[-4000:]}")


@contextmanager
def bare(folder: Path) -> Iterator[Running]:
    """Serve the answers that lie in `folder` (see bare_server)."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare_server", str(port), folder]
    with launched("bare grpc.aio", command, port, folder) as running:
        yield running


@contextmanager
def holdfast(
    folder: Path, settings: str = "", *, credentials: grpc.ChannelCredentials | None = None
) -> Iterator[Running]:
    """Serve from `folder` as a user would. settings: TOML, dotted keys first, then tables."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "holdfast.toml"
    config.write_text(
        f'server.listen = "127.0.0.1:{port}"\nserver.web = "127.0.0.1:0"\n'
        f'store.kind = "disk"\nstore.path = "{folder}/store"\n'
        f'worker.path = "{folder}/worker"\n{settings}\n'
    )
    command = [HOLDFAST, "serve", "--config", config]
    with launched("Holdfast", command, port, folder, credentials=credentials) as running:
        yield running
