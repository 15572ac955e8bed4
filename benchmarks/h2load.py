"""Unary gRPC load from outside Python: h2load, and what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 4
STREAMS = 5  # on each connection
CONCURRENCY = CONNECTIONS * STREAMS
FRAME_BYTES = 5  # not compressed (0), and the message's length in 4 bytes
_SUCCEEDED = re.compile(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored")
_SECONDS = re.compile(r"finished in ([\d.]+)(us|ms|s),")
_DATA = re.compile(r"\((\d+)\) data")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class LoadFailed(RuntimeError):
    """The load did not go as it was meant to, so its figures say nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run did. data_bytes: of the answers, frames included. milliseconds: per call."""

    requests: int
    seconds: float
    data_bytes: int
    p50_milliseconds: float
    p99_milliseconds: float


def require() -> None:
    """Raise LoadFailed where h2load is not installed."""
    if shutil.which("h2load") is None:
        raise LoadFailed("h2load is not installed: run `make setup` (package nghttp2-client)")


def write_request(file: Path, message: bytes) -> None:
    """Write `message` as the body of a call."""
    file.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)


def run(address: str, path: str, request: Path, *, requests: int = 0, seconds: int = 0) -> Load:
    """Send `request` over and over to `path` (/package.Service/Method).

    Give one of: requests, in all; seconds, for as many as that gives.
    Raises LoadFailed if a call fails as HTTP. h2load cannot see whether it failed as gRPC:
    compare data_bytes with what answers have.
    """
    log = request.with_suffix(".log")
    log.unlink(missing_ok=True)
    amount = [f"-D{seconds}"] if seconds else [f"-n{requests}"]
    command = [
        "h2load", *amount, f"-c{CONNECTIONS}", f"-m{STREAMS}", "-t1",
        "-d", str(request), "-H", "content-type: application/grpc", "-H", "te: trailers",
        f"--log-file={log}", f"http://{address}{path}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counts, took, data = (p.search(done.stdout) for p in (_SUCCEEDED, _SECONDS, _DATA))
    if done.returncode or not (counts and took and data):
        raise LoadFailed(f"{path}: h2load ended with {done.returncode}:\n{done.stdout}")
    if requests and (int(counts[1]) != requests or int(counts[2]) or int(counts[3])):
        raise LoadFailed(f"{path}: not every call was answered:\n{done.stdout}")
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
    return Load(
        int(counts[1]),
        float(took[1]) * _UNITS[took[2]],
        int(data[1]),
        times[len(times) // 2] / 1000,
        times[len(times) * 99 // 100] / 1000,
    )
