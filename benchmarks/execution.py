"""What running an action costs, apart from the action: each one is `true`."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc

from benchmarks import sandbox, servers
from benchmarks.servers import HOLDFAST, Running
from benchmarks.table import Table
from cas.digest import Digest
from cas.wire import digest_to
from protos import (
    remote_execution_pb2 as reapi,
    remote_execution_pb2_grpc as rpc,
)
from re_config.schema import Bubblewrap

LOOPS = 2
CONCURRENCIES = (4, 32)
UPLOAD = 500  # actions to an upload


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. actions: in each round."""

    rounds: int = 3
    actions: int = 200


QUICK = Size(rounds=1, actions=8)


class ActionFailed(RuntimeError):
    """An action did not run, or did not succeed, so its time says nothing."""


def run(folder: Path, size: Size) -> list[Table]:
    """Measure. folder: for the servers; it can be removed after."""
    rates = Table(
        "Actions per second (`true`, each one new)",
        "Through Execute, scheduler, worker and sandbox, by the server with the worker inside; "
        f"beside {LOOPS} shell loops side by side that start `true` under bubblewrap with the same "
        "name spaces and mounts. Rounds take turns; medians.",
        ["actions per second", "bare bubblewrap starts per second", "ratio"],
    )
    with servers.holdfast(folder / "inside") as server:
        execute(server, LOOPS, max(CONCURRENCIES))
        for concurrency in CONCURRENCIES:
            measured = [
                (execute(server, size.actions, concurrency), bare_starts(size.actions))
                for _ in range(size.rounds)
            ]
            rates.rows[f"{concurrency} in flight"] = [
                *(median(pair[index] for pair in measured) for index in (0, 1)),
                median(ours / bare for ours, bare in measured),
            ]
    starts = sandbox.run(folder / "sandbox", size.rounds, size.actions, bare_starts)
    return [rates, starts, _scheduler_cost(folder / "outside", size)]


def _scheduler_cost(folder: Path, size: Size) -> Table:
    cost = Table(
        "CPU of the server per executed action, in milliseconds",
        "The worker is a process of its own, whose CPU stands in the second column; uploads of "
        "actions and commands are not in it, the server's part in the worker's downloads and "
        "uploads is. The bar is 5.",
        ["server", "worker"],
    )
    with (
        servers.holdfast(folder, "worker.enabled = false") as server,
        _worker(server, folder / "worker") as worker,
    ):
        execute(server, LOOPS, LOOPS)
        for concurrency in CONCURRENCIES:
            costs = []
            for _ in range(size.rounds):
                actions = upload(server, size.actions)
                before = server.cpu_seconds(), worker.cpu_seconds()
                wait(server, actions, concurrency)
                after = server.cpu_seconds(), worker.cpu_seconds()
                costs.append(
                    [1000 * (b - a) / len(actions) for a, b in zip(before, after, strict=True)]
                )
            cost.rows[f"{concurrency} in flight"] = [
                median(each[index] for each in costs) for index in (0, 1)
            ]
    return cost


@contextmanager
def _worker(server: Running, folder: Path) -> Iterator[Running]:
    """Run a worker for `server` until the block ends."""
    folder.mkdir(parents=True)
    config = folder / "worker.toml"
    config.write_text(f'worker.path = "{folder}/cache"\n')
    with (folder / "worker.log").open("w") as log:
        process = subprocess.Popen(
            [HOLDFAST, "worker", "--config", config, "--server", f"grpc://{server.address}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Running("worker", process.pid, "", 0)
    finally:
        servers.stop(process)


def execute(server: Running, count: int, concurrency: int) -> float:
    """Upload `count` new actions, then run them; return how many ran in a second."""
    actions = upload(server, count)
    return count / wait(server, actions, concurrency)


def upload(server: Running, count: int) -> list[reapi.Digest]:
    """Upload `count` new actions that run `true`, with a Command each; return their digests."""
    actions = []
    with server.channel() as channel:
        blobs = rpc.ContentAddressableStorageStub(channel)
        for begin in range(0, count, UPLOAD):
            request = reapi.BatchUpdateBlobsRequest()
            for _ in range(min(UPLOAD, count - begin)):
                command = reapi.Command(arguments=["true"])
                command.environment_variables.add(name="SALT", value=uuid.uuid4().hex)
                action = reapi.Action(
                    command_digest=_add(request, command.SerializeToString()),
                    input_root_digest=digest_to(Digest.of(b"")),
                )
                actions.append(_add(request, action.SerializeToString()))
            blobs.BatchUpdateBlobs(request)
    return actions


def _add(request: reapi.BatchUpdateBlobsRequest, data: bytes) -> reapi.Digest:
    digest = digest_to(Digest.of(data))
    request.requests.add(digest=digest, data=data)
    return digest


def wait(server: Running, actions: list[reapi.Digest], concurrency: int) -> float:
    """Run `actions`, `concurrency` at a time; return the seconds. Raises ActionFailed."""
    with server.channel() as channel, ThreadPoolExecutor(concurrency) as threads:
        grpc.channel_ready_future(channel).result(servers.START_SECONDS)
        stub = rpc.ExecutionStub(channel)

        def one(action: reapi.Digest) -> None:
            *_, last = stub.Execute(reapi.ExecuteRequest(action_digest=action))
            answer = reapi.ExecuteResponse()
            if not last.response.Unpack(answer) or answer.status.code or answer.result.exit_code:
                raise ActionFailed(f"{action.hash}: {last}")
            if answer.cached_result:
                raise ActionFailed(f"{action.hash} is new, but was answered from the cache")

        begin = time.monotonic()
        list(threads.map(one, actions))
        return time.monotonic() - begin


def bare_starts(count: int) -> float:
    """Start `true` under bubblewrap `count` times; return how many ended in a second."""
    program = shutil.which("bwrap")
    if program is None:
        raise FileNotFoundError("there is no bwrap on PATH: run `make setup`")
    command = [program, *_options(), "--", "/usr/bin/env", "-i", "true"]
    loop = 'n=$1; shift; while [ "$n" -gt 0 ]; do "$@" || exit 1; n=$((n - 1)); done'
    begin = time.monotonic()
    loops = [
        subprocess.Popen(["/bin/sh", "-c", loop, "sh", str(count // LOOPS), *command])
        for _ in range(LOOPS)
    ]
    statuses = [process.wait() for process in loops]
    seconds = time.monotonic() - begin
    if any(statuses):
        raise ActionFailed(f"bubblewrap does not run `true`: {' '.join(command)}")
    return count // LOOPS * LOOPS / seconds


def _options() -> list[str]:
    """Return what the worker's sandbox asks of bubblewrap, but for the action's own folder."""
    options = ["--die-with-parent", "--new-session", "--hostname", "holdfast"]
    options += [f"--unshare-{name}" for name in ("pid", "ipc", "uts", "cgroup-try", "net")]
    for path in filter(Path.exists, map(Path, Bubblewrap().read_only)):
        options += ["--ro-bind", str(path.resolve()), str(path)]
    for private in ("/tmp", "/var/tmp", "/run"):
        options += ["--tmpfs", private]
    return [*options, "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/"]
